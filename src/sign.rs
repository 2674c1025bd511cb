//! What healthy calls read of a breaker, at an address that stays valid for ever.
//!
//! A permit must find its breaker when the call ends, whatever was dropped meanwhile. A reference count
//! would cost each call two locked instructions, and a cache line that travels between the threads that
//! share it. So a [`Sign`] is never freed: when its breaker is gone, another one uses it. The epochs go
//! on from one breaker to the next, so that a permit of the former is late for the latter.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, Weak},
};

use crate::{
    Outcome,
    breaker::{Breaker, Ticket},
    cell::Cell,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        global, many_or_few,
    },
    tally::Tally,
    telemetry::{self, MetersOfSign},
};

/// How many are made at once.
const BATCH: usize = many_or_few(16, 1);

global! {
    /// Those that no breaker uses.
    static VACANT: Mutex<Vec<&'static Sign>> = Mutex::new(Vec::new());
}

// A cache line of its own: a failing provider's must not slow down the calls of another.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct Sign {
    word: AtomicU64,
    pub(crate) tally: Tally,
    pub(crate) meters: MetersOfSign,
    tenant: Mutex<Tenant>,
}

/// Whose sign it is, from which epoch on.
#[derive(Default)]
struct Tenant {
    cell: Weak<Cell>,
    first_epoch: u64,
}

/// A sign for as long as its breaker lives.
pub(crate) struct Lease(&'static Sign);

/// What the path of a healthy call needs to know of a breaker.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Word(u64);

impl Word {
    /// A call is admitted, whatever the time.
    const FREE: u64 = 1;
    /// A success changes nothing.
    const WELL: u64 = 1 << 1;
    /// A call is admitted, and there is nothing to note of it.
    const FREE_OF_NOTES: u64 = 1 << 2;
    /// A success need only be counted.
    const COUNTED: u64 = 1 << 3;
    const EPOCH_SHIFT: u32 = 4;

    pub(crate) fn of(breaker: &Breaker) -> Self {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let is_well = breaker.is_settled_well();
        let is_counted = breaker.counts_successes();
        let is_free = breaker.admits_freely();
        let is_timed = breaker.policy().trip.is_timed();
        Self(
            flag(is_free, Self::FREE)
                | flag(is_well && !is_counted, Self::WELL)
                | flag(is_well && is_counted, Self::COUNTED)
                | flag(is_free && !is_timed, Self::FREE_OF_NOTES)
                | (breaker.epoch() << Self::EPOCH_SHIFT),
        )
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.has(Self::FREE)
    }

    /// A call is admitted, and there is nothing to note of it.
    #[inline]
    pub(crate) fn is_free_of_notes(self) -> bool {
        self.has(Self::FREE_OF_NOTES)
    }

    #[inline]
    pub(crate) fn is_well(self) -> bool {
        self.has(Self::WELL)
    }

    #[inline]
    pub(crate) fn epoch(self) -> u64 {
        self.0 >> Self::EPOCH_SHIFT
    }
}

impl Sign {
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Under the breaker's lock.
    pub(crate) fn show(&self, word: Word) {
        // Written only where it is another, or every failure would take the line from all who read it.
        if self.word() != word {
            self.word.store(word.0, Ordering::Release);
        }
    }

    /// Whether the success of a call is not even worth looking for its breaker.
    #[inline]
    pub(crate) fn is_well(&self, ticket: Ticket) -> bool {
        let word = self.word();
        word.is_well() && ticket.is_plainly_of(word.epoch())
    }

    // Out of line, so that what is inlined into a healthy call stays small.
    #[inline(never)]
    pub(crate) fn succeeded(&self, ticket: Ticket) {
        let is_live = || {
            let word = self.word();
            word.has(Word::COUNTED) && ticket.is_plainly_of(word.epoch())
        };
        if self.tally.count(is_live) {
            self.meters.success();
        } else {
            self.record(ticket, Outcome::Success);
        }
    }

    /// Tells the breaker that has given this ticket, unless it is gone, and nobody could see it.
    // Out of line, so that what is inlined into a healthy call stays small.
    #[inline(never)]
    pub(crate) fn record(&self, ticket: Ticket, outcome: Outcome) {
        if let Some(cell) = self.cell(ticket) {
            cell.record(ticket, outcome);
        }
    }

    /// A permit was dropped where that changes nothing.
    #[inline]
    pub(crate) fn left_unjudged(&self, ticket: Ticket) {
        if telemetry::IS_METERED && self.cell(ticket).is_some() {
            self.meters.neutral();
        }
    }

    #[inline(never)]
    pub(crate) fn dropped(&self, ticket: Ticket) {
        if let Some(cell) = self.cell(ticket) {
            cell.dropped(ticket);
        }
    }

    /// The breaker that has given this ticket, unless it is gone.
    pub(crate) fn cell(&self, ticket: Ticket) -> Option<Arc<Cell>> {
        let tenant = self.tenant();
        if ticket.is_from_before(tenant.first_epoch) {
            return None;
        }
        tenant.cell.upgrade()
    }

    /// Whether the breaker that uses it now has given this ticket, and not one before it.
    pub(crate) fn has_given(&self, ticket: Ticket) -> bool {
        !ticket.is_from_before(self.tenant().first_epoch)
    }

    fn tenant(&self) -> MutexGuard<'_, Tenant> {
        lock(&self.tenant)
    }
}

impl Lease {
    pub(crate) fn new() -> Self {
        let vacant = lock(&VACANT).pop();
        Self(vacant.unwrap_or_else(batch))
    }

    /// `cell` is whose sign this is from now on.
    pub(crate) fn let_to(&self, cell: Weak<Cell>) {
        let first_epoch = self.word().epoch();
        *self.tenant() = Tenant { cell, first_epoch };
    }

    pub(crate) fn sign(&self) -> &'static Sign {
        self.0
    }
}

impl Deref for Lease {
    type Target = Sign;

    fn deref(&self) -> &Sign {
        self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let epoch = self.word().epoch() + 1;
        self.show(Word(epoch << Word::EPOCH_SHIFT));
        self.meters.end();
        // What was counted, or just is, was of this breaker, and not of the next.
        self.tally.restart(0);
        self.tenant().cell = Weak::new();
        lock(&VACANT).push(self.0);
    }
}

/// One new sign; the others of its batch are vacant.
fn batch() -> &'static Sign {
    let mut batch = Vec::new();
    batch.resize_with(BATCH, Sign::default);
    let [first, others @ ..] = batch.leak() else {
        unreachable!("a batch is not empty");
    };
    lock(&VACANT).extend(others.iter());
    first
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sign").finish_non_exhaustive()
    }
}
