use std::{fmt, sync::Arc, time::Duration};

use crate::{Outcome, Reason, breaker::Ticket, cell::Cell, provider::Handle};

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
    handle: Arc<Handle>,
    ticket: Ticket,
}

impl Permit {
    pub(crate) fn new(handle: Arc<Handle>, ticket: Ticket) -> Self {
        Self { handle, ticket }
    }

    #[inline]
    pub(crate) fn cell(&self) -> &Cell {
        self.handle.cell()
    }

    /// The provider has served the call.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The provider has failed.
    pub fn failure(self, reason: impl Into<Reason>) {
        self.record(Outcome::failure(reason));
    }

    /// The provider asked for a pause, perhaps of a certain length.
    pub fn throttled(self, retry_after: Option<Duration>, reason: impl Into<Reason>) {
        self.record(Outcome::throttled(retry_after, reason));
    }

    /// The call says nothing about the provider. A trial's slot is free at once, for the next trial.
    pub fn neutral(self) {
        self.record(Outcome::Neutral);
    }

    /// Gives the verdict.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.cell().record(&self.ticket, outcome);
        // The drop has nothing to add.
        self.ticket = Ticket::VOID;
    }

    /// Whose call this is.
    #[must_use]
    pub fn provider(&self) -> &Arc<str> {
        self.cell().id()
    }

    /// Whether this call is one of the few that decide over a half-open provider.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.ticket.is_trial()
    }

    /// Lets the next trial go ahead while this one is still to be judged, as when an answer has
    /// begun to arrive. The verdict still counts.
    ///
    /// The clock of [`Trip::slow_call`](crate::Trip::slow_call) stops: an answer that goes on for
    /// long is not a slow one. Doing it again does nothing.
    pub fn release_slot(&mut self) {
        if self.ticket.minds_answer() {
            let ticket = &mut self.ticket;
            self.handle
                .cell()
                .update(|breaker, now| breaker.answered(ticket, now));
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.cell().dropped(&self.ticket);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("provider", self.cell().id())
            .field("is_trial", &self.is_trial())
            .finish_non_exhaustive()
    }
}
