//! Tells a layer that it is inside another of the same provider, which judges the call already.
//!
//! A router that layers what was layered before makes such a stack. Without this each failure would
//! count twice, and an outer layer's trial would be refused by the inner one, for ever.

use std::{cell::Cell, ptr};

use crate::cell as breaker;

thread_local! {
    /// The address of the breaker whose call is running on this thread, innermost; 0: none.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

/// A stretch of a call on this thread, until it is dropped.
pub(crate) struct Running {
    around: usize,
}

impl Running {
    #[inline]
    pub(crate) fn enter(breaker: &breaker::Cell) -> Self {
        Self {
            around: RUNNING.replace(address(breaker)),
        }
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        RUNNING.set(self.around);
    }
}

/// Whether a call that this breaker judges is running around this one.
#[inline]
pub(crate) fn is_inside(breaker: &breaker::Cell) -> bool {
    RUNNING.get() == address(breaker)
}

fn address(breaker: &breaker::Cell) -> usize {
    ptr::from_ref(breaker).addr()
}
