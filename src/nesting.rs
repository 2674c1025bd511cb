//! Tells a layer that it is inside another of the same provider, which judges the call already.
//!
//! A router that layers what was layered before makes such a stack. Without this each failure would
//! count twice, and an outer layer's trial would be refused by the inner one, for ever.

use std::{
    cell::{Cell, RefCell},
    ptr,
    sync::Arc,
};

use crate::{
    BoxError, Classify, Permit, Provider,
    breaker::{LayerId, Ticket},
    cell::Cell as BreakerCell,
    error::{CircuitOpen, NoHealthyProvider, by_value_or_pointer, chain},
    sign::Sign,
};

/// How many calls around the innermost are kept without an allocation.
const DEPTH: usize = 8;

thread_local! {
    static RUNNING: Calls = const { Calls::none() };
    /// The breaker that a chain overrides on this thread, by its sign.
    static OVERRIDDEN: Cell<Option<&'static Sign>> = const { Cell::new(None) };
    /// The calls further in than [`DEPTH`]. On its own, because a thread local with a destructor is slower to read.
    static DEEPER: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// The calls that are running on this thread, from inside a layer to inside a layer.
///
/// The innermost is kept apart, since most calls have no other around them: those write what does
/// not depend on anything read, so that no call waits for the one before it.
struct Calls {
    innermost: Cell<Option<&'static Sign>>,
    /// The word of its ticket. Apart from the sign, so that a call that is not nested only writes it.
    innermost_ticket: Cell<u64>,
    /// The others, outermost first.
    around: [Cell<Option<Call>>; DEPTH],
    depth: Cell<usize>,
}

/// A sign is used by one breaker after another, so that only the ticket tells whose call it is.
#[derive(Clone, Copy)]
struct Call {
    sign: &'static Sign,
    ticket: u64,
}

impl Call {
    fn is_of(&self, sign: &'static Sign) -> bool {
        ptr::eq(self.sign, sign) && sign.has_given(Ticket::live(self.ticket))
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
    fn has(&self, sign: &'static Sign) -> bool {
        let innermost = self.innermost.get();
        innermost.is_some_and(|innermost| self.is_any_of(innermost, sign))
    }

    #[cold]
    fn is_any_of(&self, innermost: &'static Sign, sign: &'static Sign) -> bool {
        let mut around = self.around.iter().take(self.depth.get());
        self.innermost_call(innermost).is_of(sign)
            || around.any(|call| call.get().is_some_and(|call| call.is_of(sign)))
            || self.depth.get() > DEPTH && has_deeper(sign)
    }

    fn innermost_call(&self, sign: &'static Sign) -> Call {
        let ticket = self.innermost_ticket.get();
        Call { sign, ticket }
    }

    /// Keeps the innermost, which is about to be another.
    #[cold]
    fn push(&self, innermost: &'static Sign) {
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
        self.innermost.set(outer.map(|outer| outer.sign));
    }
}

/// Cannot panic, since what could would make every healthy call longer.
#[inline]
fn pop_deeper() -> Option<Call> {
    DEEPER
        .try_with(|deeper| deeper.try_borrow_mut().ok()?.pop())
        .ok()?
}

fn has_deeper(sign: &'static Sign) -> bool {
    DEEPER.with_borrow(|deeper| deeper.iter().any(|call| call.is_of(sign)))
}

/// A stretch of a call on this thread, until it is dropped.
#[must_use]
pub(crate) struct Running {
    is_nested: bool,
}

impl Running {
    #[inline]
    pub(crate) fn enter(permit: &Permit) -> Self {
        let (sign, ticket) = (permit.sign(), permit.ticket().word());
        RUNNING.with(|calls| {
            let outer = calls.innermost.replace(Some(sign));
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
    outer: Option<&'static Sign>,
}

impl Overriding {
    pub(crate) fn enter(provider: &Provider) -> Self {
        let sign = provider.cell().sign();
        Self {
            outer: OVERRIDDEN.replace(Some(sign)),
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
    let sign = provider.cell().sign();
    OVERRIDDEN.get().is_some_and(|it| ptr::eq(it, sign))
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
    let sign = provider.cell().sign();
    RUNNING.with(|calls| calls.has(sign))
}

/// Admits a call, which an outer layer of the provider has then admitted already.
#[inline]
pub(crate) fn admit(provider: &Provider, layer: LayerId) -> Result<Permit, BoxError> {
    let sign = provider.cell().sign();
    let word = sign.word();
    if word.is_free_of_notes() && !is_inside(provider) {
        return Ok(Permit::new(sign, Ticket::live(word.epoch())));
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
    breaker: Arc<BreakerCell>,
    layer: LayerId,
}

impl Trial {
    fn of(permit: &Permit) -> Option<Self> {
        let ticket = permit.ticket();
        let breaker = permit.sign().cell(ticket)?;
        let layer = breaker.look(|breaker, _| breaker.layer_of(ticket))?;
        Some(Self { breaker, layer })
    }

    fn ended_with(&self, error: &BoxError) {
        if is_refusal_by(error, self.breaker.id()) {
            self.breaker
                .update(|breaker, _| breaker.stand_back(self.layer));
        }
    }
}

/// Whether a breaker has refused a call, as its own copy of the id shows.
fn is_refusal_by(error: &BoxError, id: &Arc<str>) -> bool {
    chain(&**error).any(|error| {
        let refusal = by_value_or_pointer::<CircuitOpen>(error);
        let exhausted = by_value_or_pointer::<NoHealthyProvider>(error);
        refusal.is_some_and(|refusal| Arc::ptr_eq(&refusal.provider, id))
            || exhausted.is_some_and(|exhausted| exhausted.was_refused_by(id))
    })
}
