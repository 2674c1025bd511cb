use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    lanes::Registration,
    shared::{HotSlot, SharedBreaker},
    ticket::Ticket,
};
use crate::util::time::after;

/// The start of a call, its time limit, its registration to be released, and its duration. The limit and the registration end
/// when the answer begins.
///
/// Only calls of a policy with [`slow_call`](crate::Trip::slow_call), [`cancelled_after`](crate::Trip::cancelled_after),
/// [`release_on_open`](crate::Policy::release_on_open) or [`measure_latency`](crate::Policy::measure_latency) have one.
pub(super) struct Watch {
    started: Option<Instant>,
    /// The time limit, until it has passed.
    limit: Option<Duration>,
    /// Set when the call is first pending, as is `registration`: a call that is ready at once needs neither.
    overdue: Option<Pin<Box<Sleep>>>,
    registration: Option<Registration>,
    /// The state machine admitted the call, so its opening releases the call.
    may_be_released: bool,
    is_measured: bool,
    /// The duration of the call, once its answer has begun.
    took: Option<Duration>,
}

// No method leaves it half changed if a waker panics.
impl UnwindSafe for Watch {}
impl RefUnwindSafe for Watch {}

impl Watch {
    pub(super) fn start(breaker: &SharedBreaker, ticket: Ticket) -> Self {
        let state = breaker.hot_slot().state();
        Self {
            started: state.is_timed().then(Instant::now),
            limit: breaker.slow_call(),
            overdue: None,
            registration: None,
            may_be_released: !ticket.is_shadow(),
            is_measured: state.is_measured(),
            took: None,
        }
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Returns how long the call took until its answer began, or until now; `None` if it is not measured.
    pub(super) fn latency(&self) -> Option<Duration> {
        let running = || self.started.filter(|_| self.is_measured);
        self.took.or_else(|| Some(running()?.elapsed()))
    }

    /// Ends the time limit and the registration.
    pub(super) fn answer_began(&mut self) {
        self.took = self.latency();
        (self.started, self.limit) = (None, None);
        (self.overdue, self.registration) = (None, None);
    }

    /// Returns the limit if the call has exceeded it and is not yet counted as slow.
    pub(super) fn exceeded(&self) -> Option<Duration> {
        let limit = self.limit?;
        (self.started?.elapsed() >= limit).then_some(limit)
    }

    /// Returns the time limit when it has passed, once.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let (Some(started), Some(limit)) = (self.started, self.limit) else {
            return Poll::Pending;
        };
        let overdue = self
            .overdue
            .get_or_insert_with(|| Box::pin(sleep_until(after(started, limit))));
        ready!(overdue.as_mut().poll(cx));
        self.limit = None;
        Poll::Ready(limit)
    }

    /// Ready when the call is released.
    pub(super) fn poll_released(
        &mut self,
        hot_slot: &'static HotSlot,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // Registered before it asks: either the call sees that it is released, or it is woken.
        match &self.registration {
            Some(registration) => registration.update(cx.waker()),
            None if hot_slot.state().releases() && self.may_be_released => {
                self.registration = hot_slot.lanes.register(cx.waker());
            }
            None => return Poll::Pending,
        }
        if hot_slot.lanes.has_released(ticket) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
