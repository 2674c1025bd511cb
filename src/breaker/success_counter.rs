//! Counts successes for a failure rate without the breaker's lock.

use tokio::time::Instant;

use super::lanes::{Lane, Lanes};
use crate::util::{
    sync::atomic::{AtomicU64, Ordering},
    time::MonotonicNanos,
};

/// Counts the successes in one bucket of the breaker's rate window, until the breaker takes them.
///
/// It counts until the bucket's time is over or the breaker stops it. After that, the next success must be recorded under the
/// lock.
#[derive(Default)]
pub(super) struct SuccessCounter {
    /// [`MonotonicNanos::bits`] of the time at which counting ends.
    until: AtomicU64,
}

/// The successes that one lane counted.
///
/// The low 24 bits are the count. The bits above are the *start*: the number of restarts. An addition fails if the start has
/// changed since it was read.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

const COUNT: u64 = START - 1;
const START: u64 = 1 << 24;

impl SuccessCounter {
    /// Counts a success if `is_live` returns true. Returns false if the success must be recorded under the lock.
    #[inline]
    pub(super) fn count(&self, lanes: &Lanes, is_live: impl FnOnce() -> bool) -> bool {
        let Some(Lane { successes, .. }) = lanes.own() else {
            return false;
        };
        let start = successes.start();
        // Checked after the start is read: an event that makes the success late also restarts the counter. If such an event
        // happens after this check, the addition fails.
        is_live()
            && MonotonicNanos::of(Instant::now()).bits() < self.until.load(Ordering::Acquire)
            && successes.add_one(start)
    }

    /// Removes the count and returns it. Called under the breaker's lock.
    pub(super) fn take(lanes: &Lanes) -> u64 {
        lanes.all().map(|lane| lane.successes.take()).sum()
    }

    /// The time at which counting ends. Called under the breaker's lock, which orders it with [`restart`](Self::restart).
    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// Resets the count and returns the old one. Counting then ends at `until`. Called under the breaker's lock.
    pub(super) fn restart(&self, lanes: &Lanes, until: u64) -> u64 {
        // Counts nothing until all counters have restarted.
        self.until.store(0, Ordering::Release);
        if until > 0 {
            lanes.init();
        }
        let counted = lanes.all().map(|lane| lane.successes.restart()).sum();
        self.until.store(until, Ordering::Release);
        counted
    }
}

impl Counter {
    fn start(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !COUNT
    }

    /// Returns false if the counter has restarted since `start`, or is full.
    fn add_one(&self, start: u64) -> bool {
        let one_more = |counted| {
            let is_late = counted & !COUNT != start;
            let is_full = counted & COUNT == COUNT;
            (!is_late && !is_full).then_some(counted + 1)
        };
        let added = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        added.is_ok()
    }

    fn take(&self) -> u64 {
        let count = self.0.load(Ordering::Acquire) & COUNT;
        if count > 0 {
            self.0.fetch_sub(count, Ordering::AcqRel);
        }
        count
    }

    fn restart(&self) -> u64 {
        let next = self.start().wrapping_add(START);
        self.0.swap(next, Ordering::AcqRel) & COUNT
    }
}
