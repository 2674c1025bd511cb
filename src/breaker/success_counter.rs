//! Counts successes for a failure rate without the breaker's lock.

use std::{cell::Cell, sync::OnceLock};

use tokio::time::Instant;

use crate::util::{
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        global, local, many_or_few,
    },
    time::MonotonicNanos,
};

/// Counts the successes in one bucket of the breaker's rate window, until the breaker takes them.
///
/// It counts until the bucket's time is over or the breaker stops it. After that, the next success must be recorded under the
/// lock.
#[derive(Default)]
pub(crate) struct SuccessCounter {
    /// [`MonotonicNanos::bits`] of the time at which counting ends.
    until: AtomicU64,
    /// Allocated at the first restart, because most breakers have no failure rate.
    counters: OnceLock<Box<[Counter; COUNTERS]>>,
}

/// Number of counters, over which threads are spread to reduce contention.
const COUNTERS: usize = many_or_few(4, 2);

/// The low 24 bits are the count. The bits above are the *start*: the number of restarts. An addition fails if the start has
/// changed since it was read.
// On its own cache line, so that threads do not share one.
#[repr(align(64))]
#[derive(Default)]
struct Counter(AtomicU64);

const COUNT: u64 = START - 1;
const START: u64 = 1 << 24;

impl SuccessCounter {
    /// Counts a success if `is_live` returns true. Returns false if the success must be recorded under the lock.
    pub(crate) fn count(&self, is_live: impl FnOnce() -> bool) -> bool {
        let Some(counters) = self.counters.get() else {
            return false;
        };
        let counter = &counters[turn()];
        let start = counter.start();
        // Checked after the start is read: an event that makes the success late also restarts the counter. If such an event
        // happens after this check, the addition fails.
        is_live()
            && MonotonicNanos::of(Instant::now()).bits() < self.until.load(Ordering::Acquire)
            && counter.add_one(start)
    }

    /// Removes the count and returns it. Called under the breaker's lock.
    pub(crate) fn take(&self) -> u64 {
        self.counters().map(Counter::take).sum()
    }

    /// The time at which counting ends. Called under the breaker's lock, which orders it with [`restart`](Self::restart).
    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// Resets the count and returns the old one. Counting then ends at `until`. Called under the breaker's lock.
    pub(crate) fn restart(&self, until: u64) -> u64 {
        // Counts nothing until all counters have restarted.
        self.until.store(0, Ordering::Release);
        if until > 0 {
            self.counters.get_or_init(Box::default);
        }
        let counted = self.counters().map(Counter::restart).sum();
        self.until.store(until, Ordering::Release);
        counted
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.counters.get().into_iter().flat_map(|all| all.iter())
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

/// Returns the index of this thread's counter.
fn turn() -> usize {
    global! {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
    }
    local! {
        static TURN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    TURN.with(Cell::get).unwrap_or_else(|| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS;
        TURN.with(|own| own.set(Some(turn)));
        turn
    })
}
