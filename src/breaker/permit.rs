use std::{
    fmt,
    future::poll_fn,
    mem::ManuallyDrop,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    shared::{HotSlot, SharedBreaker},
    ticket::Ticket,
    watch::Watch,
};
use crate::{
    outcome::{Outcome, OutcomeLabel, Reason},
    view::CircuitOpen,
};

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
    /// Set only if the ticket is watched. Dropped by `Drop` alone: with drop glue of this field, every healthy call would keep its
    /// permit in memory.
    watch: ManuallyDrop<Option<Box<Watch>>>,
}

impl Permit {
    /// Creates the permit of a ticket that is not watched.
    #[inline]
    pub(crate) fn unwatched(hot_slot: &'static HotSlot, ticket: Ticket) -> Self {
        Self {
            hot_slot,
            ticket,
            watch: ManuallyDrop::new(None),
        }
    }

    /// Creates the permit of a ticket that `breaker` has just issued.
    #[inline]
    pub(crate) fn new(breaker: &SharedBreaker, ticket: Ticket) -> Self {
        if ticket.is_watched() {
            Self::watched(breaker, ticket)
        } else {
            Self::unwatched(breaker.hot_slot(), ticket)
        }
    }

    #[inline(never)]
    fn watched(breaker: &SharedBreaker, ticket: Ticket) -> Self {
        let watch = Box::new(Watch::start(breaker, ticket));
        Self {
            watch: ManuallyDrop::new(Some(watch)),
            hot_slot: breaker.hot_slot(),
            ticket,
        }
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
        let permit = ManuallyDrop::new(self);
        if permit.hot_slot.success_is_noop(permit.ticket) {
            permit.hot_slot.meters.success();
        } else if permit.ticket.is_watched() {
            let (hot_slot, ticket, watch) = ManuallyDrop::into_inner(permit).into_parts();
            Self::watched_success(hot_slot, ticket, watch);
        } else {
            permit.hot_slot.succeeded(permit.ticket);
        }
    }

    // Out of line, with the permit's parts as arguments: both keep the code inlined into a healthy call small.
    #[inline(never)]
    fn watched_success(hot_slot: &'static HotSlot, ticket: Ticket, watch: Option<Box<Watch>>) {
        let took = watch.as_deref().and_then(Watch::latency);
        if let Some(limit) = watch.and_then(|watch| watch.exceeded()) {
            hot_slot.record_measured(ticket, took, Outcome::failure(Reason::slow(limit)));
        } else {
            hot_slot.measured(ticket, took, OutcomeLabel::Success);
            // Without the watch, the success may change nothing.
            Self::unwatched(hot_slot, ticket.unwatched()).success();
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
        let (hot_slot, ticket, watch) = self.into_parts();
        Self::record_unless_success(hot_slot, ticket, watch, outcome);
    }

    // Out of line, with the permit's parts as arguments: both keep the code inlined into a healthy call small.
    #[inline(never)]
    fn record_unless_success(
        hot_slot: &'static HotSlot,
        ticket: Ticket,
        watch: Option<Box<Watch>>,
        outcome: Outcome,
    ) {
        let took = watch.and_then(|watch| watch.latency());
        hot_slot.record_measured(ticket, took, outcome);
    }

    /// Records the outcome that a closure computes, out of line. Use it where computing the outcome is expensive.
    #[inline]
    pub(crate) fn record_with(self, outcome: impl FnOnce() -> Outcome) {
        let (hot_slot, ticket, watch) = self.into_parts();
        Self::judge(hot_slot, ticket, watch, outcome);
    }

    // Out of line, with the permit's parts as arguments: both keep the code inlined into a healthy call small.
    #[inline(never)]
    fn judge(
        hot_slot: &'static HotSlot,
        ticket: Ticket,
        watch: Option<Box<Watch>>,
        outcome: impl FnOnce() -> Outcome,
    ) {
        // Rebuilds the permit, so that it is dropped if `outcome` panics.
        let permit = Self {
            hot_slot,
            ticket,
            watch: ManuallyDrop::new(watch),
        };
        let outcome = outcome();
        permit.record(outcome);
    }

    /// Takes the permit apart without running its `Drop`, because its outcome is recorded.
    #[inline]
    fn into_parts(self) -> (&'static HotSlot, Ticket, Option<Box<Watch>>) {
        let mut permit = ManuallyDrop::new(self);
        (permit.hot_slot, permit.ticket, permit.watch.take())
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

    /// Runs `future` as the call of this permit.
    ///
    /// While it runs, [`Trip::slow_call`](crate::Trip::slow_call) counts the call as a failure as soon as its time has passed;
    /// whatever this permit records later is then late. [`Policy::release_on_open`](crate::Policy::release_on_open) ends the call
    /// when the breaker opens. Without either setting, this only awaits `future`. [`HealthLayer`](crate::HealthLayer) and
    /// [`Provider::call`](crate::Provider::call) do the same for their calls.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::{HealthCache, Policy, Trip};
    ///
    /// # async fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example() -> Result<(), tower_health::error::CircuitOpen> {
    /// let policy = Policy::new().trip(Trip::default().slow_call(Duration::from_secs(3)));
    /// let provider = HealthCache::new(policy).provider("queue");
    /// let mut permit = provider.admit()?;
    /// match permit.run(send()).await? {
    ///     Ok(()) => permit.success(),
    ///     Err(error) => permit.failure(error.to_string()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CircuitOpen`], [released](CircuitOpen::is_released), if the breaker has opened. `future` is then dropped.
    ///
    /// # Panics
    ///
    /// Like [`Trip::slow_call`](crate::Trip::slow_call), outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `future`; the permit can still record an outcome.
    pub async fn run<F: Future>(&mut self, future: F) -> Result<F::Output, CircuitOpen> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_released(cx).map(Err),
        })
        .await
    }

    /// Ready if the breaker has opened and releases this call, which is still without an answer.
    #[inline]
    pub(crate) fn poll_released(&mut self, cx: &mut Context<'_>) -> Poll<CircuitOpen> {
        if self.ticket.is_watched() {
            self.poll_watch(cx)
        } else {
            Poll::Pending
        }
    }

    #[inline(never)]
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<CircuitOpen> {
        if !self.must_record_answer() {
            return Poll::Pending;
        }
        // First, because this call may be the one that opens the breaker.
        self.poll_overdue(cx);
        let watch = self.watch.as_mut().expect("watched");
        ready!(watch.poll_released(self.hot_slot, self.ticket, cx));
        let breaker = self.hot_slot.breaker(self.ticket);
        breaker.map_or(Poll::Pending, |breaker| Poll::Ready(breaker.release()))
    }

    /// Counts the call as a failure, if it has reached its time limit without an answer.
    pub(crate) fn poll_overdue(&mut self, cx: &mut Context<'_>) {
        let Some(watch) = &mut *self.watch else {
            return;
        };
        if let Poll::Ready(limit) = watch.poll_overdue(cx) {
            self.record_slow(limit);
        }
    }

    fn record_slow(&mut self, limit: Duration) {
        let slow = Outcome::failure(Reason::slow(limit));
        let took = self.watch.as_deref().and_then(Watch::latency);
        self.hot_slot.record_measured(self.ticket, took, slow);
        self.ticket = self.ticket.recorded();
    }

    /// Returns whether the beginning of the answer must be recorded.
    pub(crate) fn must_record_answer(&self) -> bool {
        self.ticket.must_record_answer()
    }

    /// Frees a trial's slot before the outcome is known, for example when an answer begins to arrive. The outcome still counts.
    ///
    /// The time that [`Trip::slow_call`](crate::Trip::slow_call) measures ends here, so a long stream is not a slow call.
    /// [`Policy::release_on_open`](crate::Policy::release_on_open) no longer releases the call. Calling this method again has no
    /// effect.
    #[inline]
    pub fn release_slot(&mut self) {
        if self.must_record_answer() {
            self.record_answer();
        }
    }

    #[inline(never)]
    fn record_answer(&mut self) {
        if let Some(limit) = self.watch.as_ref().and_then(|watch| watch.exceeded()) {
            self.record_slow(limit);
        }
        if self.ticket.is_trial() {
            if let Some(breaker) = self.hot_slot.breaker(self.ticket) {
                breaker.answer_began(self.ticket);
            }
        }
        if let Some(watch) = &mut *self.watch {
            watch.answer_began();
            if watch.latency().is_none() {
                *self.watch = None;
                self.ticket = self.ticket.unwatched();
            }
        }
        if self.must_record_answer() {
            self.ticket = self.ticket.answered();
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.must_record_drop() {
            Self::dropped(self.hot_slot, self.ticket, self.watch.take());
        } else if !self.ticket.is_judged_elsewhere() {
            self.hot_slot.left_unjudged(self.ticket);
        }
    }
}

impl Permit {
    // Out of line, with the permit's parts as arguments: both keep the code inlined into a healthy call small.
    #[inline(never)]
    fn dropped(hot_slot: &'static HotSlot, ticket: Ticket, watch: Option<Box<Watch>>) {
        let took = watch.as_deref().and_then(Watch::latency);
        hot_slot.dropped(ticket, watch.and_then(|watch| watch.started()), took);
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
