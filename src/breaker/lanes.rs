use std::{cell::Cell, sync::OnceLock};

use tokio::sync::Notify;

use super::success_counter::Counter;
use crate::util::sync::{
    atomic::{AtomicUsize, Ordering},
    global, local, many_or_few,
};

/// One lane per group of threads: a counter of successes and a list of wakers, so that threads do not contend.
// Allocated at first use, because most breakers have neither a failure rate nor calls to release.
#[derive(Default)]
pub(super) struct Lanes(OnceLock<Box<[Lane; LANES]>>);

/// Number of lanes, over which threads are spread.
const LANES: usize = many_or_few(4, 2);

// On its own cache line, so that threads do not share one.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Lane {
    pub(super) successes: Counter,
    /// Wakes the calls that are waiting for an answer when the breaker opens for failures.
    pub(super) opened: Notify,
}

impl Lanes {
    /// Allocates the lanes, under the breaker's lock.
    pub(super) fn init(&self) {
        self.0.get_or_init(Box::default);
    }

    /// Returns this thread's lane, if the lanes are allocated.
    pub(super) fn own(&self) -> Option<&Lane> {
        Some(&self.0.get()?[turn()])
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.0.get().into_iter().flat_map(|all| all.iter())
    }
}

/// Returns the index of this thread's lane.
fn turn() -> usize {
    global! {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
    }
    local! {
        static TURN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    TURN.with(Cell::get).unwrap_or_else(|| {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
        TURN.with(|own| own.set(Some(turn)));
        turn
    })
}
