//! Successes on their way to the [window](crate::window) of a failure rate, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::time::Stamp;

/// How many calls have succeeded since the breaker last asked, all in one bucket of its window.
///
/// It counts until that bucket's time is over, or the breaker stops it; then the next success has to
/// tell the breaker itself.
#[derive(Default)]
pub(crate) struct Tally {
    /// The count, below how often it was started. The latter makes a count late that was read before.
    counted: AtomicU64,
    /// A [`Stamp`]'s bits.
    until: AtomicU64,
}

const COUNT: u64 = START - 1;
const START: u64 = 1 << 24;

impl Tally {
    /// Counts a success if `is_live`; false where it does not count now.
    pub(crate) fn count(&self, is_live: impl FnOnce() -> bool) -> bool {
        let start = self.counted.load(Ordering::Acquire) & !COUNT;
        // Asked in between, so that whatever ends the life of a success makes its count late.
        let is_counting =
            is_live() && Stamp::of(Instant::now()).bits() < self.until.load(Ordering::Acquire);
        let one_more = |counted| {
            let is_late = counted & !COUNT != start;
            let is_full = counted & COUNT == COUNT;
            (!is_late && !is_full).then_some(counted + 1)
        };
        is_counting
            && self
                .counted
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
                .is_ok()
    }

    /// What was counted, which is then not counted any more. Under the breaker's lock.
    pub(crate) fn take(&self) -> u64 {
        let count = self.counted.load(Ordering::Acquire) & COUNT;
        if count > 0 {
            self.counted.fetch_sub(count, Ordering::AcqRel);
        }
        count
    }

    /// Until when it counts; under the breaker's lock.
    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// Starts again, to count until another time, and gives what was counted until now. Under the
    /// breaker's lock.
    pub(crate) fn restart(&self, until: u64) -> u64 {
        let start = self.counted.load(Ordering::Relaxed) & !COUNT;
        // In the time between the two stores it counts nothing.
        self.until.store(0, Ordering::Release);
        let counted = self
            .counted
            .swap(start.wrapping_add(START), Ordering::AcqRel);
        self.until.store(until, Ordering::Release);
        counted & COUNT
    }
}
