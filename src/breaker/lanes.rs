use std::{cell::Cell, sync::OnceLock};

use tokio::sync::{Notify, futures::Notified};

use super::{success_counter::Counter, ticket::Ticket};
use crate::util::{
    panics::catch,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
        global, local, many_or_few,
    },
};

/// One lane per group of threads: a counter of successes and a list of wakers, so that threads do not contend.
// Allocated at first use, because most breakers have neither a failure rate nor calls to release.
#[derive(Default)]
pub(super) struct Lanes(OnceLock<Box<Allocated>>);

#[derive(Default)]
struct Allocated {
    lanes: [Lane; LANES],
    /// Calls of earlier epochs than this are released.
    released_before: AtomicU64,
}

/// Number of lanes, over which threads are spread.
const LANES: usize = many_or_few(4, 2);

// On its own cache line, so that threads do not share one.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Lane {
    pub(super) successes: Counter,
    /// Wakes the calls that are waiting for an answer when the breaker opens for failures.
    opened: Notify,
}

impl Lanes {
    /// Allocates the lanes, under the breaker's lock.
    pub(super) fn init(&self) {
        self.0.get_or_init(Box::default);
    }

    /// Returns this thread's lane, if the lanes are allocated.
    pub(super) fn own(&self) -> Option<&Lane> {
        Some(&self.0.get()?.lanes[turn()])
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.0.get().into_iter().flat_map(|all| all.lanes.iter())
    }

    /// Completes when calls are released. `None` if the lanes are not allocated.
    pub(super) fn opened(&self) -> Option<Notified<'_>> {
        Some(self.own()?.opened.notified())
    }

    /// Returns whether the call of this ticket is released. A waker of [`opened`](Self::opened) may be woken for other
    /// calls.
    pub(super) fn has_released(&self, ticket: Ticket) -> bool {
        self.0
            .get()
            .is_some_and(|all| ticket.is_from_before(all.released_before.load(Ordering::Acquire)))
    }

    /// Releases the calls of earlier epochs. Called under the breaker's lock; afterwards, [`wake_released`](Self::wake_released)
    /// must be called.
    pub(super) fn release_before(&self, epoch: u64) {
        if let Some(all) = self.0.get() {
            all.released_before.store(epoch, Ordering::Release);
        }
    }

    pub(super) fn wake_released(&self) {
        // Pairs with the fence of a registering call: this thread wakes the call, or the call sees that it is released.
        fence(Ordering::SeqCst);
        for lane in self.all() {
            // Wakers are foreign code. After a panic, those of the other lanes are still woken.
            catch(|| lane.opened.notify_waiters());
        }
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
