use std::time::Duration;

use tokio::time::Instant;

use crate::{policy::Trip, util::time::MonotonicNanos};

/// Answers in a row that count as one success: see [`Outcome::Answered`](crate::Outcome::Answered).
const ANSWERS_A_SUCCESS: u8 = 3;

/// Maximum number of failures that blips can require for a trip.
const MOST_FAILURES: u32 = 16;

/// Half-life of a blip.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);

/// Failures of live calls in a row.
#[derive(Debug, Default)]
pub(super) struct Streak {
    failures: u32,
    /// [Answers](crate::Outcome::Answered) since the last other outcome, modulo [`ANSWERS_A_SUCCESS`].
    answers: u8,
    last_failure: Option<MonotonicNanos>,
    /// The latest `retry_after` time among this streak's failures.
    requested_until: Option<MonotonicNanos>,
    blips: Blips,
}

/// Streaks that a success ended before they tripped, counted with a half-life. They measure the noise of random failures.
#[derive(Clone, Copy, Debug, Default)]
struct Blips {
    count: f64,
    /// The time of the last blip, since which `count` decays.
    at: Option<MonotonicNanos>,
}

impl Streak {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns whether the last failure is too old to count, or there is none.
    pub(super) fn is_over(&self, within: Duration, now: Instant) -> bool {
        self.last_failure
            .is_none_or(|last| MonotonicNanos::of(now).since(last) > within)
    }

    /// Returns whether the last call has failed, since `start`.
    pub(super) fn has_failed_since(&self, start: Instant) -> bool {
        let start = MonotonicNanos::of(start);
        self.failures > 0 && self.last_failure.is_some_and(|last| last >= start)
    }

    /// Time until the latest `retry_after` time among this streak's failures.
    pub(super) fn requested_wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.requested_until?.since(MonotonicNanos::of(now));
        Some(wait).filter(|wait| !wait.is_zero())
    }

    pub(super) fn failed(&mut self, until: Option<Instant>, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.answers = 0;
        self.last_failure = Some(MonotonicNanos::of(now));
        self.requested_until = self.requested_until.max(until.map(MonotonicNanos::of));
    }

    /// Counts an answer. Returns whether it completes a success.
    pub(super) fn answered(&mut self) -> bool {
        self.answers = (self.answers + 1) % ANSWERS_A_SUCCESS;
        self.answers == 0
    }

    /// Ends a run of answers, when the phase changes.
    pub(super) fn end_answers(&mut self) {
        self.answers = 0;
    }

    /// Ends the streak; its blips stay.
    pub(super) fn end(&mut self) {
        *self = Self {
            blips: self.blips,
            ..Self::default()
        };
    }

    /// Counts a streak that ended without a trip.
    pub(super) fn note_blip(&mut self, now: Instant) {
        self.blips.add(now);
    }

    /// Takes over the failures of another process.
    pub(super) fn restore(&mut self, failures: u32) {
        self.failures = failures;
    }

    pub(super) fn trips(&self, trip: &Trip, now: Instant) -> bool {
        trip.consecutive.is_some_and(|limit| {
            let is_noise = || {
                let raised = limit.saturating_add(self.blips.more_failures(now));
                self.failures < raised.min(limit.max(MOST_FAILURES))
            };
            self.failures >= limit && (trip.is_exact || !is_noise())
        })
    }
}

impl Blips {
    fn add(&mut self, now: Instant) {
        *self = Self {
            count: self.count(now) + 1.0,
            at: Some(MonotonicNanos::of(now)),
        };
    }

    /// Returns how many more failures are needed to trip: one at 2 blips, and one more for each doubling.
    fn more_failures(self, now: Instant) -> u32 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let pairs = (self.count(now) / 2.0) as u32;
        pairs.checked_ilog2().map_or(0, |doublings| doublings + 1)
    }

    fn count(self, now: Instant) -> f64 {
        let age = self
            .at
            .map_or(Duration::ZERO, |at| MonotonicNanos::of(now).since(at));
        self.count * (-age.div_duration_f64(HALF_LIFE)).exp2()
    }
}
