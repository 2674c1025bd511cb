use tokio::time::Instant;

use crate::{breaker::ticket::Trial, view::Cause};

/// The state of a breaker without its override.
#[derive(Debug)]
pub(super) enum Phase {
    Closed,
    // Boxed, because most providers are closed.
    Open(Box<OpenWindow>),
    HalfOpen(Box<OpenWindow>),
}

/// An open window, which is kept while the breaker is half-open.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenWindow {
    pub(super) cause: Cause,
    /// The time of the trip or of the last failed trial, from which [`max_hold`](crate::Backoff::max_hold) counts.
    pub(super) began: Instant,
    /// The time from which a trial is admitted: at least `requested_until`, with jitter.
    pub(super) until: Instant,
    /// The time that the provider asked for; no check and no granted trial ends the window earlier.
    pub(super) requested_until: Option<Instant>,
    /// Random number in `[0, 1)` for the jitter of requested waits. It is one for the window: of many calls that are throttled
    /// at once, each with its own number, the largest would always be near 1.
    pub(super) chance: f64,
    /// A trial has failed in this outage, so a reachability check proves nothing.
    pub(super) trial_failed: bool,
    /// Taken over from a snapshot.
    pub(super) is_restored: bool,
    /// The round of trials, once the breaker is half-open.
    pub(super) round: HalfOpenRound,
}

/// The progress of a half-open breaker.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfOpenRound {
    /// The open window was cut short, for one trial only.
    pub(super) granted: bool,
    pub(super) successes: u32,
    /// A [slow start](crate::Trials::slow_start) goes on at least until this number of successes: those before all slots were last in
    /// use, and one for each call that used them.
    pub(super) full_until: u32,
    pub(super) next_trial: Trial,
}

impl OpenWindow {
    /// Returns whether the time that the provider asked for, if any, has come.
    pub(super) fn may_end(&self, now: Instant) -> bool {
        self.requested_until
            .is_none_or(|requested_until| now >= requested_until)
    }
}

impl HalfOpenRound {
    pub(super) fn new(granted: bool) -> Self {
        Self {
            granted,
            successes: 0,
            full_until: 0,
            next_trial: Trial::FIRST,
        }
    }
}
