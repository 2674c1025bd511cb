//! Tells a layer that it is inside another of the same provider, which judges the call already.
//!
//! A router that layers what was layered before makes such a stack. Without this each failure would
//! count twice, and an outer layer's trial would be refused by the inner one, for ever.

use std::{
    cell::{Cell, RefCell},
    ptr,
    sync::Arc,
};

use super::classify::Classify;
use crate::{
    breaker::{HotSlot, LayerId, Permit, SharedBreaker, Ticket},
    cache::Provider,
    util::errors::BoxError,
    view::CircuitOpen,
};

/// How many calls around the innermost are kept without an allocation.
const DEPTH: usize = 8;

thread_local! {
    static RUNNING: Calls = const { Calls::none() };
    /// The breaker that a chain overrides on this thread, by its slot.
    static OVERRIDDEN: Cell<Option<&'static HotSlot>> = const { Cell::new(None) };
    /// The calls further in than [`DEPTH`]. On its own, because a thread local with a destructor is slower to read.
    static DEEPER: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// The calls that are running on this thread, from inside a layer to inside a layer.
///
/// The innermost is kept apart, since most calls have no other around them: those write what does
/// not depend on anything read, so that no call waits for the one before it.
struct Calls {
    innermost: Cell<Option<&'static HotSlot>>,
    /// The word of its ticket. Apart from the slot, so that a call that is not nested only writes it.
    innermost_ticket: Cell<u64>,
    /// The others, outermost first.
    around: [Cell<Option<Call>>; DEPTH],
    depth: Cell<usize>,
}

/// A slot is used by one breaker after another, so that only the ticket tells whose call it is.
#[derive(Clone, Copy)]
struct Call {
    hot_slot: &'static HotSlot,
    ticket: u64,
}

impl Call {
    fn is_of(&self, hot_slot: &'static HotSlot) -> bool {
        ptr::eq(self.hot_slot, hot_slot) && hot_slot.has_given(Ticket::live(self.ticket))
    }
}

impl Calls {
    const fn none() -> Self {
        Self {
            innermost: Cell::new(None),
            innermost_ticket: Cell::new(0),
            around: [const { Cell::new(None) }; DEPTH],
            depth: Cell::new(0),
        }
    }

    #[inline]
    fn has(&self, hot_slot: &'static HotSlot) -> bool {
        let innermost = self.innermost.get();
        innermost.is_some_and(|innermost| self.is_any_of(innermost, hot_slot))
    }

    #[cold]
    fn is_any_of(&self, innermost: &'static HotSlot, hot_slot: &'static HotSlot) -> bool {
        let mut around = self.around.iter().take(self.depth.get());
        self.innermost_call(innermost).is_of(hot_slot)
            || around.any(|call| call.get().is_some_and(|call| call.is_of(hot_slot)))
            || self.depth.get() > DEPTH && has_deeper(hot_slot)
    }

    fn innermost_call(&self, hot_slot: &'static HotSlot) -> Call {
        let ticket = self.innermost_ticket.get();
        Call { hot_slot, ticket }
    }

    /// Keeps the innermost, which is about to be another.
    #[cold]
    fn push(&self, innermost: &'static HotSlot) {
        let call = self.innermost_call(innermost);
        let depth = self.depth.get();
        match self.around.get(depth) {
            Some(place) => place.set(Some(call)),
            None => DEEPER.with_borrow_mut(|deeper| deeper.push(call)),
        }
        self.depth.set(depth + 1);
    }

    /// Makes the call around the innermost the innermost.
    #[cold]
    #[inline]
    fn pop(&self) {
        let depth = self.depth.get().wrapping_sub(1);
        self.depth.set(depth);
        let outer = match self.around.get(depth) {
            Some(place) => place.get(),
            None => pop_deeper(),
        };
        if let Some(outer) = outer {
            self.innermost_ticket.set(outer.ticket);
        }
        self.innermost.set(outer.map(|outer| outer.hot_slot));
    }
}

/// Cannot panic, since what could would make every healthy call longer.
#[inline]
fn pop_deeper() -> Option<Call> {
    DEEPER
        .try_with(|deeper| deeper.try_borrow_mut().ok()?.pop())
        .ok()?
}

fn has_deeper(hot_slot: &'static HotSlot) -> bool {
    DEEPER.with_borrow(|deeper| deeper.iter().any(|call| call.is_of(hot_slot)))
}

/// A stretch of a call on this thread, until it is dropped.
#[must_use]
pub(crate) struct Running {
    is_nested: bool,
}

impl Running {
    #[inline]
    pub(crate) fn enter(permit: &Permit) -> Self {
        let (hot_slot, ticket) = (permit.hot_slot(), permit.ticket().word());
        RUNNING.with(|calls| {
            let outer = calls.innermost.replace(Some(hot_slot));
            if let Some(outer) = outer {
                calls.push(outer);
            }
            calls.innermost_ticket.set(ticket);
            Self {
                is_nested: outer.is_some(),
            }
        })
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        RUNNING.with(|calls| {
            if self.is_nested {
                calls.pop();
            } else {
                calls.innermost.set(None);
            }
        });
    }
}

/// A stretch in which a chain calls a provider whatever its breaker says, until it is dropped.
#[must_use]
pub(crate) struct Overriding {
    outer: Option<&'static HotSlot>,
}

impl Overriding {
    pub(crate) fn enter(provider: &Provider) -> Self {
        let hot_slot = provider.breaker().hot_slot();
        Self {
            outer: OVERRIDDEN.replace(Some(hot_slot)),
        }
    }
}

impl Drop for Overriding {
    fn drop(&mut self) {
        OVERRIDDEN.set(self.outer);
    }
}

#[cold]
fn may_fail_open(provider: &Provider) -> bool {
    is_overridden(provider) && provider.may_fail_open()
}

fn is_overridden(provider: &Provider) -> bool {
    let hot_slot = provider.breaker().hot_slot();
    OVERRIDDEN.get().is_some_and(|it| ptr::eq(it, hot_slot))
}

/// Whether a call would be made. An outer layer of the provider, or a chain that overrides its breaker, may have decided so
/// already.
#[inline]
pub(crate) fn is_admitting(provider: &Provider) -> bool {
    provider.is_healthy() || is_let_through(provider)
}

#[inline]
fn is_let_through(provider: &Provider) -> bool {
    is_inside(provider) || may_fail_open(provider)
}

/// Whether a call that this breaker judges is running around this one.
#[inline]
pub(crate) fn is_inside(provider: &Provider) -> bool {
    let hot_slot = provider.breaker().hot_slot();
    RUNNING.with(|calls| calls.has(hot_slot))
}

/// Admits a call, which an outer layer of the provider has then admitted already.
#[inline]
pub(crate) fn admit(provider: &Provider, layer: LayerId) -> Result<Permit, BoxError> {
    let hot_slot = provider.breaker().hot_slot();
    let word = hot_slot.state();
    if word.admits_without_notes() && !is_inside(provider) {
        return Ok(Permit::new(hot_slot, Ticket::live(word.epoch())));
    }
    admit_otherwise(provider, layer)
}

// Out of line, so that what is inlined into a healthy call stays small.
#[inline(never)]
fn admit_otherwise(provider: &Provider, layer: LayerId) -> Result<Permit, BoxError> {
    if is_inside(provider) {
        return Ok(provider.admit_uncounted());
    }
    if is_overridden(provider) {
        return Ok(provider.admit_overridden(layer)?);
    }
    Ok(provider.admit_to(layer)?)
}

/// Judges a trial that has failed. Should its own breaker have refused it, beneath, then its layer stands back from now on.
#[cold]
pub(crate) fn judge_failed_trial<Res, E, C>(
    classifier: &C,
    result: Result<Res, E>,
    permit: Permit,
) -> Result<C::Response, BoxError>
where
    C: Classify<Res, E>,
    E: Into<BoxError>,
{
    let trial = Trial::of(&permit);
    let result = classifier.classify_boxed(result, permit);
    if let (Err(error), Some(trial)) = (&result, trial) {
        trial.ended_with(error);
    }
    result
}

/// A trial that has its slot, and the layer that asked for it.
struct Trial {
    breaker: Arc<SharedBreaker>,
    layer: LayerId,
}

impl Trial {
    fn of(permit: &Permit) -> Option<Self> {
        let ticket = permit.ticket();
        let breaker = permit.hot_slot().breaker(ticket)?;
        let layer = breaker.look(|breaker, _| breaker.layer_of(ticket))?;
        Some(Self { breaker, layer })
    }

    fn ended_with(&self, error: &BoxError) {
        if CircuitOpen::is_within(&**error, self.breaker.id()) {
            self.breaker
                .update(|breaker, _| breaker.stand_back(self.layer));
        }
    }
}
