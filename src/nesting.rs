//! Tells a layer that it is inside another of the same provider, which judges the call already.
//!
//! A router that layers what was layered before makes such a stack. Without this each failure would
//! count twice, and an outer layer's trial would be refused by the inner one, for ever.

use std::{cell::Cell, ptr};

use crate::{BoxError, Permit, Provider, breaker::Ticket, sign::Sign};

/// So many layers around one call are known; those further out are not, and no real stack has as many.
const DEPTH: usize = 8;

/// The address of no breaker.
const NONE: usize = 0;

thread_local! {
    static RUNNING: Calls = const { Calls::none() };
    /// The breaker that a chain overrides on this thread, by the address of its sign.
    static OVERRIDDEN: Cell<usize> = const { Cell::new(NONE) };
}

/// The breakers whose calls are running on this thread, by the addresses of their signs.
///
/// The innermost is kept apart, since most calls have no other around them: those write what does
/// not depend on anything read, so that no call waits for the one before it.
struct Calls {
    innermost: Cell<usize>,
    /// The others, outermost first.
    around: [Cell<usize>; DEPTH],
    depth: Cell<usize>,
}

impl Calls {
    const fn none() -> Self {
        Self {
            innermost: Cell::new(NONE),
            around: [const { Cell::new(NONE) }; DEPTH],
            depth: Cell::new(0),
        }
    }

    #[inline]
    fn has(&self, breaker: usize) -> bool {
        let innermost = self.innermost.get();
        innermost == breaker || (innermost != NONE && self.has_around(breaker))
    }

    #[cold]
    fn has_around(&self, breaker: usize) -> bool {
        let mut around = self.around.iter().take(self.depth.get());
        around.any(|other| other.get() == breaker)
    }

    #[cold]
    fn push(&self, outer: usize) {
        let depth = self.depth.get();
        if let Some(place) = self.around.get(depth) {
            place.set(outer);
        }
        self.depth.set(depth + 1);
    }

    #[cold]
    fn pop(&self) -> usize {
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        // Too deep to be known: any but none, or those around it would be forgotten.
        self.around.get(depth).map_or(usize::MAX, Cell::get)
    }
}

/// A stretch of a call on this thread, until it is dropped.
#[must_use]
pub(crate) struct Running {
    is_nested: bool,
}

impl Running {
    #[inline]
    pub(crate) fn enter(breaker: &'static Sign) -> Self {
        RUNNING.with(|calls| {
            let outer = calls.innermost.replace(address(breaker));
            let is_nested = outer != NONE;
            if is_nested {
                calls.push(outer);
            }
            Self { is_nested }
        })
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        RUNNING.with(|calls| {
            let outer = if self.is_nested { calls.pop() } else { NONE };
            calls.innermost.set(outer);
        });
    }
}

/// A stretch in which a chain calls a provider whatever its breaker says, until it is dropped.
#[must_use]
pub(crate) struct Overriding {
    outer: usize,
}

impl Overriding {
    pub(crate) fn enter(provider: &Provider) -> Self {
        let breaker = address(provider.cell().sign());
        Self {
            outer: OVERRIDDEN.replace(breaker),
        }
    }
}

impl Drop for Overriding {
    fn drop(&mut self) {
        OVERRIDDEN.set(self.outer);
    }
}

fn is_overridden(provider: &Provider) -> bool {
    OVERRIDDEN.get() == address(provider.cell().sign())
}

/// Whether a call is made although its breaker may refuse: an outer layer of the provider has admitted it, or a chain
/// overrides the breaker.
pub(crate) fn is_let_through(provider: &Provider) -> bool {
    is_inside(provider) || (is_overridden(provider) && provider.may_fail_open())
}

/// Whether a call that this breaker judges is running around this one.
#[inline]
pub(crate) fn is_inside(provider: &Provider) -> bool {
    let breaker = address(provider.cell().sign());
    RUNNING.with(|calls| calls.has(breaker))
}

/// Admits a call, which an outer layer of the provider has then admitted already.
#[inline]
pub(crate) fn admit(provider: &Provider) -> Result<Permit, BoxError> {
    let sign = provider.cell().sign();
    let word = sign.word();
    if word.is_free_of_notes() && !is_inside(provider) {
        return Ok(Permit::new(sign, Ticket::live(word.epoch())));
    }
    admit_otherwise(provider)
}

// Out of line, so that what is inlined into a healthy call stays small.
#[inline(never)]
fn admit_otherwise(provider: &Provider) -> Result<Permit, BoxError> {
    if is_inside(provider) {
        return Ok(provider.admit_uncounted());
    }
    if is_overridden(provider) {
        return Ok(provider.admit_overridden()?);
    }
    Ok(provider.admit()?)
}

fn address(breaker: &'static Sign) -> usize {
    ptr::from_ref(breaker).addr()
}
