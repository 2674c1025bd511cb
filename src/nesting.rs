//! Tells a layer that it is inside another of the same provider, which judges the call already.
//!
//! A router that layers what was layered before makes such a stack. Without this each failure would
//! count twice, and an outer layer's trial would be refused by the inner one, for ever.

use std::{cell::Cell, ptr};

use crate::{Permit, Provider, cell as breaker, error::CircuitOpen};

/// So many layers around one call are known; those further in are not, and no real stack has as many.
const DEPTH: usize = 8;

thread_local! {
    static RUNNING: Calls = const { Calls::none() };
}

/// The breakers whose calls are running on this thread, outermost first, by their addresses.
struct Calls {
    depth: Cell<usize>,
    breakers: [Cell<usize>; DEPTH],
}

impl Calls {
    const fn none() -> Self {
        Self {
            depth: Cell::new(0),
            breakers: [const { Cell::new(0) }; DEPTH],
        }
    }

    #[inline]
    fn enter(&self, breaker: usize) {
        let depth = self.depth.get();
        if let Some(innermost) = self.breakers.get(depth) {
            innermost.set(breaker);
        }
        self.depth.set(depth + 1);
    }

    #[inline]
    fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    #[inline]
    fn has(&self, breaker: usize) -> bool {
        let mut running = self.breakers.iter().take(self.depth.get());
        running.any(|running| running.get() == breaker)
    }
}

/// A stretch of a call on this thread, until it is dropped.
#[must_use]
pub(crate) struct Running(());

impl Running {
    #[inline]
    pub(crate) fn enter(breaker: &breaker::Cell) -> Self {
        RUNNING.with(|calls| calls.enter(address(breaker)));
        Self(())
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        RUNNING.with(Calls::leave);
    }
}

/// Whether a call that this breaker judges is running around this one.
#[inline]
pub(crate) fn is_inside(breaker: &breaker::Cell) -> bool {
    RUNNING.with(|calls| calls.has(address(breaker)))
}

/// Admits a call, which an outer layer of the provider has then admitted already.
#[inline]
pub(crate) fn admit(provider: &Provider) -> Result<Permit, CircuitOpen> {
    if is_inside(provider.cell()) {
        return Ok(provider.admit_uncounted());
    }
    provider.admit()
}

fn address(breaker: &breaker::Cell) -> usize {
    ptr::from_ref(breaker).addr()
}
