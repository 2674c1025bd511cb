//! loom's atomics, of which it tries more orders.
//!
//! When loom 0.7 comes to a store it knows one load before it, the last. Where that is the thread's own, and
//! it often is, no order is tried in which another thread loads what was stored.

use std::ops::Deref;

pub(crate) use loom::sync::atomic::Ordering;
use loom::sync::atomic::{self, AtomicBool};

pub(crate) type AtomicU8 = InTurn<atomic::AtomicU8>;
pub(crate) type AtomicU64 = InTurn<atomic::AtomicU64>;
pub(crate) type AtomicUsize = InTurn<atomic::AtomicUsize>;

/// An atomic of which all accesses, loads too, are tried in every order.
#[derive(Debug, Default)]
pub(crate) struct InTurn<A> {
    turn: AtomicBool,
    atomic: A,
}

impl<A> InTurn<A> {
    pub(crate) fn new<V>(value: V) -> Self
    where
        A: From<V>,
    {
        Self {
            turn: AtomicBool::default(),
            atomic: value.into(),
        }
    }
}

/// On the way to each access.
impl<A> Deref for InTurn<A> {
    type Target = A;

    fn deref(&self) -> &A {
        // A write, of which none is forgotten; relaxed, so that nothing happens before it or after.
        self.turn.swap(true, Ordering::Relaxed);
        &self.atomic
    }
}
