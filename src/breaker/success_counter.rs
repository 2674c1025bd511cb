//! Successes on their way to the [window](crate::window) of a failure rate, counted without a lock.

use std::{cell::Cell, sync::OnceLock};

use tokio::time::Instant;

use crate::util::{
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        global, local, many_or_few,
    },
    time::MonotonicNanos,
};

/// How many calls have succeeded since the breaker last asked, all in one bucket of its window.
///
/// It counts until that bucket's time is over, or the breaker stops it; then the next success has to
/// tell the breaker itself.
#[derive(Default)]
pub(crate) struct SuccessCounter {
    /// A [`MonotonicNanos`]'s bits.
    until: AtomicU64,
    /// Made when it first counts, since most breakers have no use for it.
    counters: OnceLock<Box<[Counter; COUNTERS]>>,
}

/// Threads that count at once take turns at these, so that few of them meet at one.
const COUNTERS: usize = many_or_few(4, 2);

/// The count, below how often it was started. The latter makes a count late that was read before.
// On a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Counter(AtomicU64);

const COUNT: u64 = START - 1;
const START: u64 = 1 << 24;

impl SuccessCounter {
    /// Counts a success if `is_live`; false where it does not count now.
    pub(crate) fn count(&self, is_live: impl FnOnce() -> bool) -> bool {
        let Some(counters) = self.counters.get() else {
            return false;
        };
        let counter = &counters[turn()];
        let start = counter.start();
        // Asked in between, so that whatever ends the life of a success makes its count late.
        is_live()
            && MonotonicNanos::of(Instant::now()).bits() < self.until.load(Ordering::Acquire)
            && counter.add_one(start)
    }

    /// What was counted, which is then not counted any more. Under the breaker's lock.
    pub(crate) fn take(&self) -> u64 {
        self.counters().map(Counter::take).sum()
    }

    /// Until when it counts; under the breaker's lock.
    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// Starts again, to count until another time, and gives what was counted until now. Under the
    /// breaker's lock.
    pub(crate) fn restart(&self, until: u64) -> u64 {
        // Until all have started again it counts nothing.
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

    /// False where it has been started since `start`, or is full.
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

/// Which counter is this thread's.
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
