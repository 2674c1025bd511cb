use std::{
    cell::Cell,
    sync::{OnceLock, PoisonError},
    task::Waker,
};

use super::{success_counter::Counter, ticket::Ticket};
use crate::util::{
    panics::catch,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        global, local, many_or_few,
    },
};

/// One lane per group of threads, so that threads do not contend.
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
    wakers: Mutex<Wakers>,
}

/// The wakers of the calls that are waiting for an answer.
#[derive(Default)]
struct Wakers {
    /// `None` in a vacant place, and after the waker was woken.
    places: Vec<Option<Waker>>,
    vacant: Vec<usize>,
}

/// Registers a call, until it is dropped.
pub(super) struct Registration {
    lane: &'static Lane,
    place: usize,
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

    /// Registers the waker of a call. `None` if the lanes are not allocated.
    pub(super) fn register(&'static self, waker: &Waker) -> Option<Registration> {
        let lane = self.own()?;
        let place = lane.add(waker.clone());
        Some(Registration { lane, place })
    }

    /// Returns whether the call of this ticket is released. A registered call asks again when it is woken, possibly for the
    /// release of other calls.
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
        for lane in self.all() {
            for waker in lane.take_wakers() {
                // Foreign code. After a panic, the others are still woken.
                catch(|| waker.wake());
            }
        }
    }
}

// Clones, wakes and drops wakers outside the lock, because they are foreign code.
impl Lane {
    fn add(&self, waker: Waker) -> usize {
        let mut wakers = self.wakers();
        if let Some(place) = wakers.vacant.pop() {
            wakers.places[place] = Some(waker);
            return place;
        }
        wakers.places.push(Some(waker));
        wakers.places.len() - 1
    }

    fn take_wakers(&self) -> Vec<Waker> {
        let mut wakers = self.wakers();
        wakers.places.iter_mut().filter_map(Option::take).collect()
    }

    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Replaces the waker, if `waker` wakes another task.
    pub(super) fn update(&self, waker: &Waker) {
        let is_current = |registered: &Waker| registered.will_wake(waker);
        if self.waker(|place| place.as_ref().is_some_and(is_current)) {
            return;
        }
        let waker = waker.clone();
        self.waker(|place| place.replace(waker));
    }

    fn waker<R>(&self, then: impl FnOnce(&mut Option<Waker>) -> R) -> R {
        then(&mut self.lane.wakers().places[self.place])
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut wakers = self.lane.wakers();
        let waker = wakers.places[self.place].take();
        wakers.vacant.push(self.place);
        drop(wakers);
        drop(waker);
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
