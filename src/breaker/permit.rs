use std::{fmt, mem::ManuallyDrop, sync::Arc, time::Duration};

use super::{shared::HotSlot, ticket::Ticket};
use crate::outcome::{Outcome, Reason};

/// The right to make one call, and the duty to say what came of it.
///
/// Given by [`Provider::admit`](crate::Provider::admit). Exactly one verdict comes of it; dropping
/// it is the verdict "neutral", unless [`Trip::cancelled_after`](crate::Trip::cancelled_after) says
/// otherwise. A verdict from before a change of state is late, and moves nothing but the deadline of
/// a throttled provider.
///
/// ```
/// use tower_health::HealthCache;
///
/// # fn send() -> Result<(), std::io::Error> { Ok(()) }
/// let provider = HealthCache::default().provider("queue");
/// let permit = provider.admit()?;
/// match send() {
///     Ok(()) => permit.success(),
///     Err(error) => permit.failure(error.to_string()),
/// }
/// # Ok::<(), tower_health::error::CircuitOpen>(())
/// ```
#[must_use = "a permit that is dropped unused says nothing of the provider"]
pub struct Permit {
    hot_slot: &'static HotSlot,
    ticket: Ticket,
}

impl Permit {
    #[inline]
    pub(crate) fn new(hot_slot: &'static HotSlot, ticket: Ticket) -> Self {
        Self { hot_slot, ticket }
    }

    #[inline]
    pub(crate) fn hot_slot(&self) -> &'static HotSlot {
        self.hot_slot
    }

    #[inline]
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The provider has served the call.
    #[inline]
    pub fn success(self) {
        let (hot_slot, ticket) = self.into_parts();
        if hot_slot.success_is_noop(ticket) {
            hot_slot.meters.success();
        } else {
            hot_slot.succeeded(ticket);
        }
    }

    /// The provider has failed.
    pub fn failure(self, reason: impl Into<Reason>) {
        self.record(Outcome::failure(reason));
    }

    /// The provider has failed, and waiting would not help: the breaker opens at once. See [`Outcome::Fatal`].
    pub fn fatal(self, reason: impl Into<Reason>) {
        self.record(Outcome::fatal(reason));
    }

    /// The provider asked for a pause, perhaps of a certain length.
    pub fn throttled(self, retry_after: Option<Duration>, reason: impl Into<Reason>) {
        self.record(Outcome::throttled(retry_after, reason));
    }

    /// The provider is up, but its answer is about the request, as with HTTP's 404: see
    /// [`Outcome::Answered`]. A trial's slot is free at once.
    pub fn answered(self) {
        self.record(Outcome::Answered);
    }

    /// The call says nothing about the provider. A trial's slot is free at once, for the next trial.
    pub fn neutral(self) {
        self.record(Outcome::Neutral);
    }

    /// Gives the verdict.
    #[inline]
    pub fn record(self, outcome: Outcome) {
        if let Outcome::Success = outcome {
            return self.success();
        }
        let (hot_slot, ticket) = self.into_parts();
        hot_slot.record(ticket, outcome);
    }

    /// Gives a verdict that is long in the making.
    #[inline]
    pub(crate) fn record_with(self, outcome: impl FnOnce() -> Outcome) {
        let (hot_slot, ticket) = self.into_parts();
        Self::judge(hot_slot, ticket, outcome);
    }

    // Out of line and in parts, so that what is inlined into a healthy call stays small.
    #[inline(never)]
    fn judge(hot_slot: &'static HotSlot, ticket: Ticket, outcome: impl FnOnce() -> Outcome) {
        // Dropped, should this panic.
        let permit = Self::new(hot_slot, ticket);
        let outcome = outcome();
        permit.record(outcome);
    }

    /// What it was made of, without its drop: there is nothing more to say then.
    fn into_parts(self) -> (&'static HotSlot, Ticket) {
        let permit = ManuallyDrop::new(self);
        (permit.hot_slot, permit.ticket)
    }

    /// Whose call this is; `None` where every handle of the provider is gone.
    #[must_use]
    pub fn provider(&self) -> Option<Arc<str>> {
        self.hot_slot
            .breaker(self.ticket)
            .map(|cell| Arc::clone(cell.id()))
    }

    /// Whether this call is one of the few that decide over a half-open provider.
    #[inline]
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.ticket.is_trial()
    }

    /// Whether the beginning of an answer can change anything.
    pub(crate) fn minds_answer(&self) -> bool {
        self.ticket.minds_answer()
    }

    /// Lets the next trial go ahead while this one is still to be judged, as when an answer has
    /// begun to arrive. The verdict still counts.
    ///
    /// The clock of [`Trip::slow_call`](crate::Trip::slow_call) stops: an answer that goes on for
    /// long is not a slow one. Doing it again does nothing.
    pub fn release_slot(&mut self) {
        if self.minds_answer() {
            if let Some(breaker) = self.hot_slot.breaker(self.ticket) {
                breaker.answer_began(&mut self.ticket);
            }
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.minds_drop() {
            self.hot_slot.dropped(self.ticket);
        } else if !self.ticket.is_judged_elsewhere() {
            self.hot_slot.left_unjudged(self.ticket);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("provider", &self.provider().as_deref().unwrap_or_default())
            .field("is_trial", &self.is_trial())
            .finish_non_exhaustive()
    }
}
