//! Detects a layer that runs inside another layer of the same provider. The outer layer already records the call.
//!
//! Such a stack arises when a layer wraps a router whose services already have layers. Without the detection, each failure would
//! count twice, and the inner layer would refuse every trial of the outer one.

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

/// Number of enclosing calls stored without an allocation.
const DEPTH: usize = 8;

thread_local! {
    static RUNNING: Calls = const { Calls::none() };
    /// The slot of the breaker that must fail open on this thread. Set by a fallback chain.
    static FAILING_OPEN: Cell<Option<&'static HotSlot>> = const { Cell::new(None) };
    /// Enclosing calls beyond [`DEPTH`]. Separate, because a thread local with a destructor is slower to read.
    static DEEPER: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// The guarded calls that run on this thread, each inside the one before it.
///
/// The innermost has its own fields, because most calls are not nested. In a call that is not nested,
/// no write depends on a read, so the CPU does not wait for the previous call.
struct Calls {
    innermost: Cell<Option<&'static HotSlot>>,
    /// A field of its own: a call that is not nested writes it, and never reads it.
    innermost_ticket: Cell<u64>,
    /// Enclosing calls, outermost first.
    around: [Cell<Option<Call>>; DEPTH],
    depth: Cell<usize>,
}

/// Identifies a running call. Breakers reuse slots, so the ticket tells which breaker admitted the call.
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

    /// Stores the innermost call among the enclosing ones, before a new call replaces it.
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

    /// Restores the enclosing call as the innermost.
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

/// Uses only methods that cannot panic: a panicking path here would add instructions to every healthy call.
#[inline]
fn pop_deeper() -> Option<Call> {
    DEEPER
        .try_with(|deeper| deeper.try_borrow_mut().ok()?.pop())
        .ok()?
}

fn has_deeper(hot_slot: &'static HotSlot) -> bool {
    DEEPER.with_borrow(|deeper| deeper.iter().any(|call| call.is_of(hot_slot)))
}

/// Guard that marks a call as running on this thread.
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

/// Guard that makes a provider's breaker fail open on this thread, for a fallback chain.
#[must_use]
pub(crate) struct FailingOpen {
    outer: Option<&'static HotSlot>,
}

impl FailingOpen {
    pub(crate) fn enter(provider: &Provider) -> Self {
        let hot_slot = provider.hot_slot();
        Self {
            outer: FAILING_OPEN.replace(Some(hot_slot)),
        }
    }
}

impl Drop for FailingOpen {
    fn drop(&mut self) {
        FAILING_OPEN.set(self.outer);
    }
}

#[cold]
fn may_fail_open(provider: &Provider) -> bool {
    is_failing_open(provider) && provider.may_fail_open()
}

fn is_failing_open(provider: &Provider) -> bool {
    let hot_slot = provider.hot_slot();
    FAILING_OPEN.get().is_some_and(|it| ptr::eq(it, hot_slot))
}

/// Returns whether a call would be admitted now, by the breaker itself, by an outer layer of the same provider, or by a chain
/// that fails open.
#[inline]
pub(crate) fn is_admitting(provider: &Provider) -> bool {
    provider.is_healthy() || is_admitted_outside(provider)
}

#[inline]
fn is_admitted_outside(provider: &Provider) -> bool {
    is_inside(provider) || may_fail_open(provider)
}

/// Returns whether this thread is inside a call whose outcome the provider's breaker already records.
#[inline]
pub(crate) fn is_inside(provider: &Provider) -> bool {
    let hot_slot = provider.hot_slot();
    RUNNING.with(|calls| calls.has(hot_slot))
}

/// Admits or refuses a call. Inside an outer layer of the same provider it always admits, because that layer has admitted the
/// call.
#[inline]
pub(crate) fn admit(provider: &Provider, layer: LayerId) -> Result<Permit, BoxError> {
    let hot_slot = provider.hot_slot();
    let word = hot_slot.state();
    if word.admits_unwatched() && !is_inside(provider) {
        return Ok(Permit::unwatched(hot_slot, Ticket::live(word.epoch())));
    }
    admit_slow(provider, layer)
}

// Out of line, so that the code inlined into a healthy call stays small.
#[inline(never)]
fn admit_slow(provider: &Provider, layer: LayerId) -> Result<Permit, BoxError> {
    if is_inside(provider) {
        return Ok(provider.admit_uncounted());
    }
    if is_failing_open(provider) {
        return Ok(provider.admit_failing_open(layer)?);
    }
    Ok(provider.admit_to(layer)?)
}

/// Classifies a failed trial and records it. If an inner layer of the same provider refused it, the trial's layer is recorded as
/// an outer layer, which leaves the trial slots to the inner layer from now on.
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

/// A trial that holds a slot, and the layer that requested it.
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
                .update(|breaker, _| breaker.note_outer(self.layer));
        }
    }
}
