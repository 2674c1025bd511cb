use std::{collections::VecDeque, mem};

use crate::view::Transition;

/// Transitions that are not yet sent to the listeners.
///
/// They are sent without the breaker's lock, so that no listener's waker runs under it, and by one thread at a time, so that
/// they stay in order.
// Allocated at the first transition, because most providers have none.
#[derive(Default)]
pub(super) struct Outbox(Option<Box<Pending>>);

#[derive(Default)]
struct Pending {
    queue: VecDeque<Transition>,
    /// A thread is sending the queue.
    is_sending: bool,
}

impl Outbox {
    pub(super) fn add(&mut self, transition: Transition) {
        let pending = self.0.get_or_insert_default();
        pending.queue.push_back(transition);
    }

    /// Returns true if there are transitions and no thread is sending them. The caller must then send them.
    pub(super) fn start_sending(&mut self) -> bool {
        self.0.as_mut().is_some_and(|pending| {
            !pending.queue.is_empty() && !mem::replace(&mut pending.is_sending, true)
        })
    }

    /// Takes the next transition to send. `None` ends the sending.
    pub(super) fn next(&mut self) -> Option<Transition> {
        let pending = self.0.as_mut()?;
        let next = pending.queue.pop_front();
        pending.is_sending = next.is_some();
        next
    }
}
