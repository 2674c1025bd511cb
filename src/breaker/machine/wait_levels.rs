use std::time::Duration;

use tokio::time::Instant;

use crate::{
    policy::{Policy, Throttle},
    util::time::{MonotonicNanos, random},
};

/// Counts the failed trials and throttles that lengthen a provider's waits.
#[derive(Debug, Default)]
pub(super) struct WaitLevels {
    /// Failed trials; the backoff grows with each.
    failed_trials: u32,
    /// Throttles in a row without a `retry_after`; the wait grows with each.
    unnamed_throttles: u32,
    /// The time at which the backoff starts again at its first wait, if the breaker is still closed.
    forgiven_at: Option<MonotonicNanos>,
}

impl WaitLevels {
    pub(super) fn failed_trials(&self) -> u32 {
        self.failed_trials
    }

    pub(super) fn trial_failed(&mut self) {
        self.failed_trials = self.failed_trials.saturating_add(1);
    }

    /// Takes over the failed trials of another process.
    pub(super) fn restore(&mut self, failed_trials: u32) {
        self.failed_trials = failed_trials;
    }

    /// Takes over failed trials of other processes, which may have counted more.
    pub(super) fn at_least(&mut self, failed_trials: u32) {
        self.failed_trials = self.failed_trials.max(failed_trials);
    }

    pub(super) fn backoff(&self, policy: &Policy) -> Duration {
        policy.backoff.wait(self.failed_trials, random())
    }

    /// Returns the wait for a throttle. Counts the throttle if it has no `retry_after`.
    pub(super) fn throttled(&mut self, rule: &Throttle, named: Option<Duration>) -> Duration {
        let wait = rule.wait(named, self.unnamed_throttles);
        self.unnamed_throttles = match named {
            Some(_) => 0,
            None => self.unnamed_throttles.saturating_add(1),
        };
        wait
    }

    /// Returns the wait for a throttle that arrives while the breaker is open. The throttle is not counted, because its call was
    /// usually in flight when the breaker opened.
    pub(super) fn throttled_in_flight(&self, rule: &Throttle, named: Option<Duration>) -> Duration {
        rule.wait(named, self.unnamed_throttles.saturating_sub(1))
    }

    /// Ends the run of throttles.
    pub(super) fn end_throttles(&mut self) {
        self.unnamed_throttles = 0;
    }

    /// The breaker has closed, and its failed trials count until `at`.
    pub(super) fn forgive_at(&mut self, at: Instant) {
        self.forgiven_at = Some(MonotonicNanos::of(at));
    }

    pub(super) fn is_forgiven(&self, now: Instant) -> bool {
        self.forgiven_at
            .is_some_and(|at| MonotonicNanos::of(now) >= at)
    }

    /// Starts the backoff again at its first wait, if the breaker has been closed for long enough.
    pub(super) fn forgive(&mut self, now: Instant) {
        if self.is_forgiven(now) {
            self.failed_trials = 0;
        }
    }
}
