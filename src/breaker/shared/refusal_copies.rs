//! Each thread's own copies of the refusals that it got last.
//!
//! Without them, all refused threads would count references to one refusal, which costs more than the rest of a refusal.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{util::sync::local, view::Refusal};

/// Number of copies that a thread keeps. Each keeps the id and the last error of its provider in memory, until another copy
/// replaces it.
const COPIES: usize = 8;

/// A copy and its id.
type Place = RefCell<Option<(u64, Arc<Refusal>)>>;

/// An id that no refusal has.
pub(super) const NO_REFUSAL: u64 = 0;

local! {
    /// The remainder of an id is the place of its copy.
    static OWN: [Place; COPIES] = const { [const { RefCell::new(None) }; COPIES] };
}

/// Returns an id that no other refusal of any breaker has.
pub(super) fn new_id() -> u64 {
    // Not an atomic of `util::sync`, because no loom test depends on its order.
    static NEXT: AtomicU64 = AtomicU64::new(NO_REFUSAL + 1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns this thread's copy of the refusal with this id, if it has one.
#[inline]
pub(super) fn own(id: u64) -> Option<Arc<Refusal>> {
    with_place(id, |place| match &*place.borrow() {
        Some((of, refusal)) if *of == id => Some(Arc::clone(refusal)),
        _ => None,
    })
    .flatten()
}

pub(super) fn keep(id: u64, refusal: Arc<Refusal>) {
    with_place(id, |place| place.replace(Some((id, refusal))));
}

/// Does nothing if the thread's copies are dropped already, because the thread ends.
fn with_place<R>(id: u64, then: impl FnOnce(&Place) -> R) -> Option<R> {
    let place = usize::try_from(id % COPIES as u64).ok()?;
    OWN.try_with(|copies| then(&copies[place])).ok()
}
