//! The failure rate over a sliding window: a ring of buckets that expire by time alone.

use std::time::Duration;

use tokio::time::Instant;

use crate::{policy::FailureRate, util::time::after};

const BUCKETS: usize = 10;

/// Calls and failures in the last [`FailureRate::window`], in ten buckets.
#[derive(Debug)]
pub(crate) struct RateWindow {
    rule: FailureRate,
    origin: Instant,
    buckets: [Bucket; BUCKETS],
    /// Tick of the bucket whose successes are counted without the lock, and [added](Self::add) later.
    counted_tick: u64,
}

/// The calls in one tenth of a window. `tick` numbers the tenths since the origin.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tick: u64,
    calls: u32,
    failures: u32,
}

impl RateWindow {
    pub(crate) fn new(rule: FailureRate, now: Instant) -> Self {
        Self {
            rule,
            origin: now,
            buckets: [Bucket::default(); BUCKETS],
            counted_tick: 0,
        }
    }

    /// Returns whether `rule` covers the same length of time.
    pub(crate) fn has_length_of(&self, rule: FailureRate) -> bool {
        self.rule.window == rule.window
    }

    /// Replaces the rule with one of the same length, and keeps the counts.
    pub(crate) fn set_rule(&mut self, rule: FailureRate) {
        self.rule = rule;
    }

    pub(crate) fn record(&mut self, failed: bool, now: Instant) {
        let bucket = self.bucket(self.tick(now));
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
    }

    /// The end of the current bucket.
    pub(crate) fn next_tick_at(&self, now: Instant) -> Instant {
        let end = self.width().saturating_mul(self.tick(now) + 1);
        after(self.origin, Duration::from_nanos(end))
    }

    /// Successes in the current bucket are counted without the lock from now on.
    pub(crate) fn start_counting(&mut self, now: Instant) {
        self.counted_tick = self.tick(now);
    }

    /// Adds successes that were counted without the lock, unless their bucket has expired.
    pub(crate) fn add(&mut self, successes: u64) {
        if self.buckets[index(self.counted_tick)].tick > self.counted_tick {
            return;
        }
        let bucket = self.bucket(self.counted_tick);
        let successes = u32::try_from(successes).unwrap_or(u32::MAX);
        bucket.calls = bucket.calls.saturating_add(successes);
    }

    fn bucket(&mut self, tick: u64) -> &mut Bucket {
        let bucket = &mut self.buckets[index(tick)];
        if bucket.tick != tick {
            *bucket = Bucket {
                tick,
                ..Bucket::default()
            };
        }
        bucket
    }

    pub(crate) fn reset(&mut self) {
        self.buckets = Default::default();
    }

    /// Returns whether there were enough calls and too many of them failed.
    pub(crate) fn should_trip(&self, now: Instant) -> bool {
        let (calls, failures) = self.counts(now);
        calls >= u64::from(self.rule.min_calls) && self.is_too_many(failures, calls)
    }

    /// Returns whether a success can trip the breaker: it may reach the minimum number of calls, or older successes may
    /// have expired.
    pub(crate) fn may_trip_by_successes(&self, now: Instant) -> bool {
        let (calls, failures) = self.counts(now);
        let enough = u64::from(self.rule.min_calls);
        self.is_too_many(failures, enough.max(calls + 1))
    }

    fn is_too_many(&self, failures: u64, calls: u64) -> bool {
        #[allow(clippy::cast_precision_loss)]
        let (made, failed) = (calls as f64, failures as f64);
        failed >= self.rule.ratio * made
    }

    /// Calls and failures in the window.
    fn counts(&self, now: Instant) -> (u64, u64) {
        let tick = self.tick(now);
        self.buckets
            .iter()
            .filter(|bucket| bucket.tick + BUCKETS as u64 > tick)
            .fold((0_u64, 0_u64), |(calls, failures), bucket| {
                (
                    calls + u64::from(bucket.calls),
                    failures + u64::from(bucket.failures),
                )
            })
    }

    fn tick(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin)) / self.width()
    }

    fn width(&self) -> u64 {
        nanos(self.rule.window) / BUCKETS as u64
    }
}

/// The index of a tick's bucket.
fn index(tick: u64) -> usize {
    // Modulo before the cast, because a 32-bit `usize` would skip buckets.
    #[allow(clippy::cast_possible_truncation)]
    let index = (tick % BUCKETS as u64) as usize;
    index
}

/// Converts to nanoseconds; saturates after five centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn window() -> (RateWindow, Instant) {
        let start = Instant::now();
        let rule = FailureRate {
            ratio: 0.5,
            window: 10 * SECOND,
            min_calls: 4,
        };
        (RateWindow::new(rule, start), start)
    }

    #[test]
    fn trips_at_the_ratio_and_not_before_enough_calls() {
        let (mut window, now) = window();
        for (failed, trips) in [(true, false), (true, false), (false, false), (false, true)] {
            window.record(failed, now);
            assert_eq!(window.should_trip(now), trips);
        }
        window.record(false, now);
        assert!(!window.should_trip(now), "2 of 5 is under a half");
    }

    #[test]
    fn forgets_a_bucket_exactly_when_the_window_has_passed() {
        let (mut window, start) = window();
        for _ in 0..4 {
            window.record(true, start);
        }
        assert!(window.should_trip(start + 10 * SECOND - Duration::from_nanos(1)));
        assert!(!window.should_trip(start + 10 * SECOND));
    }

    #[test]
    fn a_reused_bucket_starts_empty() {
        let (mut window, start) = window();
        for _ in 0..4 {
            window.record(true, start);
        }
        window.record(true, start + 10 * SECOND);
        assert!(!window.should_trip(start + 10 * SECOND));
    }

    #[test]
    fn centuries_of_silence_do_not_overflow() {
        let (mut window, start) = window();
        let later = start + Duration::from_secs(60 * 60 * 24 * 365 * 200);
        window.record(true, later);
        assert!(!window.should_trip(later));
    }
}
