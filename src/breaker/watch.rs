use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::futures::Notified,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    shared::{HotSlot, SharedBreaker},
    ticket::Ticket,
};
use crate::util::{
    sync::atomic::{Ordering, fence},
    time::after,
};

pin_project! {
    /// The time limit of a call, and its registration for the breaker's opening, until its answer begins.
    ///
    /// Only the calls of a policy with a [time limit](crate::Trip::slow_call) or with
    /// [`release_on_open`](crate::Policy::release_on_open) have one.
    pub(super) struct Watch {
        started: Option<Instant>,
        // The time limit, until it has passed.
        limit: Option<Duration>,
        // Set when the call is first pending, as is `opened`: a call that is ready at once needs neither.
        #[pin]
        overdue: Option<Sleep>,
        #[pin]
        opened: Option<Notified<'static>>,
    }
}

// No method leaves it half changed if a waker panics.
impl UnwindSafe for Watch {}
impl RefUnwindSafe for Watch {}

impl Watch {
    pub(super) fn start(breaker: &SharedBreaker) -> Self {
        Self {
            started: breaker.hot_slot().state().is_timed().then(Instant::now),
            limit: breaker.slow_call(),
            overdue: None,
            opened: None,
        }
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Returns the limit if the call has exceeded it and is not yet counted as slow.
    pub(super) fn exceeded(&self) -> Option<Duration> {
        let limit = self.limit?;
        (self.started?.elapsed() >= limit).then_some(limit)
    }

    /// Returns the time limit when it has passed, once.
    pub(super) fn poll_overdue(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Duration> {
        let mut this = self.project();
        let (Some(started), Some(limit)) = (*this.started, *this.limit) else {
            return Poll::Pending;
        };
        if this.overdue.is_none() {
            this.overdue.set(Some(sleep_until(after(started, limit))));
        }
        let overdue = this.overdue.as_pin_mut().expect("just set");
        ready!(overdue.poll(cx));
        (*this.started, *this.limit) = (None, None);
        Poll::Ready(limit)
    }

    /// Ready when the call is released.
    pub(super) fn poll_released(
        self: Pin<&mut Self>,
        hot_slot: &'static HotSlot,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut this = self.project();
        loop {
            let is_new = this.opened.is_none();
            if is_new && hot_slot.state().releases() {
                this.opened.set(hot_slot.lanes.opened());
            }
            let Some(opened) = this.opened.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            let is_woken = opened.poll(cx).is_ready();
            if is_new {
                // Pairs with the fence in `wake_released`: the opener wakes this call, or this call sees the release.
                fence(Ordering::SeqCst);
            }
            if hot_slot.lanes.has_released(ticket) {
                return Poll::Ready(());
            }
            if !is_woken {
                return Poll::Pending;
            }
            // Woken for the calls of another epoch: waits on.
            this.opened.set(None);
        }
    }
}
