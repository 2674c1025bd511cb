//! The part of a breaker that healthy calls read, at an address that stays valid for ever.
//!
//! A permit must find its breaker when the call ends, even if every handle was dropped meanwhile. A reference count would cost
//! each call two locked instructions and contention on a cache line. So a [`HotSlot`] is never freed: after its breaker is
//! dropped, another breaker reuses it. The epochs continue from one breaker to the next, so that a permit of the first is late for
//! the second.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::SharedBreaker;
use crate::{
    breaker::{lanes::Lanes, machine::Breaker, success_counter::SuccessCounter, ticket::Ticket},
    outcome::{Outcome, OutcomeLabel},
    telemetry::{self, SlotMeters},
    util::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        global, many_or_few,
    },
};

/// Number of slots allocated at once.
const BATCH: usize = many_or_few(16, 1);

global! {
    /// Slots that no breaker uses.
    static VACANT: Mutex<Vec<&'static HotSlot>> = Mutex::new(Vec::new());
}

// On its own cache line: writes for a failing provider must not slow down the calls of another.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct HotSlot {
    state: AtomicU64,
    successes: SuccessCounter,
    pub(in crate::breaker) lanes: Lanes,
    pub(crate) meters: SlotMeters,
    owner: Mutex<Owner>,
}

/// The breaker that uses a slot, and its first epoch.
#[derive(Default)]
struct Owner {
    breaker: Weak<SharedBreaker>,
    first_epoch: u64,
}

/// Holds a slot for a breaker, and returns it on drop.
pub(crate) struct SlotGuard(&'static HotSlot);

/// The flags and the epoch that a healthy call reads.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct HotState(u64);

impl HotState {
    /// Every call is admitted.
    const ADMITS: u64 = 1;
    /// A success changes nothing.
    const SUCCESS_IS_NOOP: u64 = 1 << 1;
    /// Every call is admitted, and is not [watched](crate::breaker::watch::Watch).
    const ADMITS_UNWATCHED: u64 = 1 << 2;
    /// A success need only be counted by the [`SuccessCounter`].
    const SUCCESS_IS_COUNTED: u64 = 1 << 3;
    /// The start of calls must be recorded.
    const IS_TIMED: u64 = 1 << 4;
    /// Calls are released when the breaker opens.
    const RELEASES: u64 = 1 << 5;
    /// The duration of calls is recorded.
    const IS_MEASURED: u64 = 1 << 6;
    const EPOCH_SHIFT: u32 = 7;

    pub(crate) fn of(breaker: &Breaker) -> Self {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let success_is_noop = breaker.success_is_noop();
        let is_counted = breaker.counts_successes();
        let admits = breaker.admits_freely();
        let policy = breaker.policy();
        Self(
            flag(admits, Self::ADMITS)
                | flag(success_is_noop && !is_counted, Self::SUCCESS_IS_NOOP)
                | flag(success_is_noop && is_counted, Self::SUCCESS_IS_COUNTED)
                | flag(admits && !policy.watches_calls(), Self::ADMITS_UNWATCHED)
                | flag(policy.is_timed(), Self::IS_TIMED)
                | flag(policy.is_measured(), Self::IS_MEASURED)
                | flag(policy.release_on_open, Self::RELEASES)
                | (breaker.epoch() << Self::EPOCH_SHIFT),
        )
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(crate) fn admits(self) -> bool {
        self.has(Self::ADMITS)
    }

    /// Returns whether every call is admitted, and none is watched.
    #[inline]
    pub(crate) fn admits_unwatched(self) -> bool {
        self.has(Self::ADMITS_UNWATCHED)
    }

    pub(in crate::breaker) fn releases(self) -> bool {
        self.has(Self::RELEASES)
    }

    pub(in crate::breaker) fn is_timed(self) -> bool {
        self.has(Self::IS_TIMED)
    }

    pub(in crate::breaker) fn is_measured(self) -> bool {
        self.has(Self::IS_MEASURED)
    }

    #[inline]
    pub(crate) fn success_is_noop(self) -> bool {
        self.has(Self::SUCCESS_IS_NOOP)
    }

    #[inline]
    pub(crate) fn epoch(self) -> u64 {
        self.0 >> Self::EPOCH_SHIFT
    }
}

impl HotSlot {
    #[inline]
    pub(crate) fn state(&self) -> HotState {
        HotState(self.state.load(Ordering::Acquire))
    }

    /// Publishes a state. Called under the breaker's lock.
    pub(super) fn show(&self, state: HotState) {
        // Written only if it changes, because each write takes the cache line from every reader.
        if self.state() != state {
            if state.releases() {
                self.lanes.init();
            }
            self.state.store(state.0, Ordering::Release);
        }
    }

    /// Removes the successes counted without the lock, and returns their number. Called under the breaker's lock.
    pub(super) fn take_successes(&self) -> u64 {
        SuccessCounter::take(&self.lanes)
    }

    /// [`MonotonicNanos::bits`](crate::util::time::MonotonicNanos::bits) of the time until which successes are counted without
    /// the lock. Called under the breaker's lock.
    pub(super) fn counts_until(&self) -> u64 {
        self.successes.until()
    }

    /// Counts from zero until `until`, and returns the old count. Called under the breaker's lock.
    pub(super) fn restart_counting(&self, until: u64) -> u64 {
        self.successes.restart(&self.lanes, until)
    }

    /// Returns whether a success changes nothing, so that the breaker need not be looked up.
    #[inline]
    pub(crate) fn success_is_noop(&self, ticket: Ticket) -> bool {
        let state = self.state();
        state.success_is_noop() && ticket.is_plainly_of(state.epoch())
    }

    /// Records a success that may change something.
    // Out of line, to keep the code inlined into a healthy call small.
    #[inline(never)]
    pub(in crate::breaker) fn succeeded(&self, ticket: Ticket) {
        let is_live = || {
            let state = self.state();
            state.has(HotState::SUCCESS_IS_COUNTED) && ticket.is_plainly_of(state.epoch())
        };
        if self.successes.count(&self.lanes, is_live) {
            self.meters.success();
        } else {
            self.record(ticket, Outcome::Success);
        }
    }

    /// Records an outcome in the breaker that issued the ticket, unless that breaker was dropped.
    // Out of line, to keep the code inlined into a healthy call small.
    #[inline(never)]
    pub(crate) fn record(&self, ticket: Ticket, outcome: Outcome) {
        if let Some(breaker) = self.breaker(ticket) {
            breaker.record(ticket, outcome);
        }
    }

    /// Counts a dropped permit that changes nothing in the breaker.
    #[inline]
    pub(crate) fn left_unjudged(&self, ticket: Ticket) {
        if telemetry::IS_METERED && self.breaker(ticket).is_some() {
            self.meters.neutral();
        }
    }

    #[inline(never)]
    pub(in crate::breaker) fn dropped(
        &self,
        ticket: Ticket,
        started: Option<Instant>,
        took: Option<Duration>,
    ) {
        if let Some(breaker) = self.breaker(ticket) {
            let judged = breaker.dropped(ticket, started);
            self.measured(ticket, took, judged.outcome);
        }
    }

    /// Records an outcome, and the duration of the call if it is measured.
    pub(in crate::breaker) fn record_measured(
        &self,
        ticket: Ticket,
        took: Option<Duration>,
        outcome: Outcome,
    ) {
        self.measured(ticket, took, OutcomeLabel::of(&outcome));
        self.record(ticket, outcome);
    }

    /// Records the duration of a call, if it is measured.
    pub(in crate::breaker) fn measured(
        &self,
        ticket: Ticket,
        took: Option<Duration>,
        outcome: OutcomeLabel,
    ) {
        let Some(took) = took.filter(|_| !ticket.is_judged_elsewhere()) else {
            return;
        };
        // Epochs continue from one breaker of the slot to the next, so the current one needs no lock.
        if ticket.epoch() == self.state().epoch() || self.has_given(ticket) {
            self.meters.took(outcome, took);
        }
    }

    /// Returns the breaker that issued this ticket, unless it was dropped.
    pub(crate) fn breaker(&self, ticket: Ticket) -> Option<Arc<SharedBreaker>> {
        let owner = self.owner();
        if ticket.is_from_before(owner.first_epoch) {
            return None;
        }
        owner.breaker.upgrade()
    }

    /// Returns whether the slot's current breaker, not an earlier one, issued this ticket.
    pub(crate) fn has_given(&self, ticket: Ticket) -> bool {
        !ticket.is_from_before(self.owner().first_epoch)
    }

    fn owner(&self) -> MutexGuard<'_, Owner> {
        lock(&self.owner)
    }
}

impl SlotGuard {
    pub(crate) fn new() -> Self {
        let vacant = lock(&VACANT).pop();
        Self(vacant.unwrap_or_else(batch))
    }

    /// Makes `breaker` the user of the slot.
    pub(crate) fn assign(&self, breaker: Weak<SharedBreaker>) {
        let first_epoch = self.state().epoch();
        *self.owner() = Owner {
            breaker,
            first_epoch,
        };
    }

    pub(crate) fn hot_slot(&self) -> &'static HotSlot {
        self.0
    }
}

impl Deref for SlotGuard {
    type Target = HotSlot;

    fn deref(&self) -> &HotSlot {
        self.0
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let epoch = self.state().epoch() + 1;
        self.show(HotState(epoch << HotState::EPOCH_SHIFT));
        self.meters.end();
        // Discards the count, so that the slot's next breaker starts at zero.
        self.restart_counting(0);
        self.owner().breaker = Weak::new();
        lock(&VACANT).push(self.0);
    }
}

/// Allocates a batch, and returns one slot of it. The others are vacant.
fn batch() -> &'static HotSlot {
    let mut batch = Vec::new();
    batch.resize_with(BATCH, HotSlot::default);
    let [first, others @ ..] = batch.leak() else {
        unreachable!("a batch is not empty");
    };
    lock(&VACANT).extend(others.iter());
    first
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for HotSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotSlot").finish_non_exhaustive()
    }
}
