use std::{fmt, mem::ManuallyDrop, sync::Arc, time::Duration};

use super::{shared::HotSlot, ticket::Ticket};
use crate::outcome::{Outcome, Reason};

/// The right to make one call, which records the call's outcome.
///
/// [`Provider::admit`](crate::Provider::admit) returns it. A permit records one outcome. Dropping it records
/// [`Outcome::Neutral`], or a failure if [`Trip::cancelled_after`](crate::Trip::cancelled_after) is set and the call ran for
/// that long.
///
/// If the breaker has opened, half-opened or closed since the permit was issued, the outcome is late and is ignored. Only a late
/// [`Outcome::Throttled`] still counts: it can extend an open window. An operator's override makes no outcome late.
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
#[must_use = "dropping a permit records no success and no failure of its call"]
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

    /// Records that the provider served the call.
    #[inline]
    pub fn success(self) {
        let (hot_slot, ticket) = self.into_parts();
        if hot_slot.success_is_noop(ticket) {
            hot_slot.meters.success();
        } else {
            hot_slot.succeeded(ticket);
        }
    }

    /// Records that the provider failed.
    pub fn failure(self, reason: impl Into<Reason>) {
        self.record(Outcome::failure(reason));
    }

    /// Records a failure that waiting does not repair: the breaker opens at once. See [`Outcome::Fatal`].
    pub fn fatal(self, reason: impl Into<Reason>) {
        self.record(Outcome::fatal(reason));
    }

    /// Records that the provider asked for a pause. Its length is `retry_after`, if the provider gave one. See
    /// [`Outcome::Throttled`].
    pub fn throttled(self, retry_after: Option<Duration>, reason: impl Into<Reason>) {
        self.record(Outcome::throttled(retry_after, reason));
    }

    /// Records an answer that concerns only the request, such as HTTP's 404: see [`Outcome::Answered`]. Frees a trial's slot.
    pub fn answered(self) {
        self.record(Outcome::Answered);
    }

    /// Records that the call proves nothing about the provider. Frees a trial's slot at once. See [`Outcome::Neutral`].
    pub fn neutral(self) {
        self.record(Outcome::Neutral);
    }

    /// Records an outcome.
    #[inline]
    pub fn record(self, outcome: Outcome) {
        if let Outcome::Success = outcome {
            return self.success();
        }
        let (hot_slot, ticket) = self.into_parts();
        hot_slot.record(ticket, outcome);
    }

    /// Records the outcome that a closure computes, out of line. Use it where computing the outcome is expensive.
    #[inline]
    pub(crate) fn record_with(self, outcome: impl FnOnce() -> Outcome) {
        let (hot_slot, ticket) = self.into_parts();
        Self::judge(hot_slot, ticket, outcome);
    }

    // Out of line, with the permit's parts as arguments: both keep the code inlined into a healthy call small.
    #[inline(never)]
    fn judge(hot_slot: &'static HotSlot, ticket: Ticket, outcome: impl FnOnce() -> Outcome) {
        // Rebuilds the permit, so that it is dropped if `outcome` panics.
        let permit = Self::new(hot_slot, ticket);
        let outcome = outcome();
        permit.record(outcome);
    }

    /// Takes the permit apart without running its `Drop`, because its outcome is recorded.
    fn into_parts(self) -> (&'static HotSlot, Ticket) {
        let permit = ManuallyDrop::new(self);
        (permit.hot_slot, permit.ticket)
    }

    /// Returns the provider's id, or `None` if every handle of the provider is gone.
    #[must_use]
    pub fn provider(&self) -> Option<Arc<str>> {
        self.hot_slot
            .breaker(self.ticket)
            .map(|cell| Arc::clone(cell.id()))
    }

    /// Returns whether this call is a trial of a half-open breaker.
    #[inline]
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.ticket.is_trial()
    }

    /// Whether the beginning of the answer must be recorded.
    pub(crate) fn must_record_answer(&self) -> bool {
        self.ticket.must_record_answer()
    }

    /// Frees a trial's slot before the outcome is known, for example when an answer begins to arrive. The outcome still counts.
    ///
    /// The time that [`Trip::slow_call`](crate::Trip::slow_call) measures ends here, so a long stream is not a slow call.
    /// Calling this method again has no effect.
    pub fn release_slot(&mut self) {
        if self.must_record_answer() {
            if let Some(breaker) = self.hot_slot.breaker(self.ticket) {
                breaker.answer_began(&mut self.ticket);
            }
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.must_record_drop() {
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
