use std::{collections::VecDeque, mem};

use crate::view::Transition;

/// Transitions on their way to the listeners. They are sent without the breaker's lock, so that no
/// listener's waker runs under it, by one thread at a time, so that they stay in order.
// In a box that is made for the first: most providers have nothing to tell, and there may be many.
#[derive(Default)]
pub(super) struct Outbox(Option<Box<Mail>>);

#[derive(Default)]
struct Mail {
    queue: VecDeque<Transition>,
    is_attended: bool,
}

impl Outbox {
    pub(super) fn add(&mut self, transition: Transition) {
        let mail = self.0.get_or_insert_default();
        mail.queue.push_back(transition);
    }

    /// Whether there is something to send and nobody who does: the caller does, from now on.
    pub(super) fn attend(&mut self) -> bool {
        self.0.as_mut().is_some_and(|mail| {
            !mail.queue.is_empty() && !mem::replace(&mut mail.is_attended, true)
        })
    }

    /// What is sent next. Where there is nothing, the outbox is left to whoever attends it next.
    pub(super) fn next(&mut self) -> Option<Transition> {
        let mail = self.0.as_mut()?;
        let next = mail.queue.pop_front();
        mail.is_attended = next.is_some();
        next
    }
}
