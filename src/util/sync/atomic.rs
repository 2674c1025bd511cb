//! loom's atomics, with more interleavings.
//!
//! At a store, loom 0.7 remembers only the last load before it. If the same thread made that load, as is often the case,
//! loom tries no interleaving in which another thread loads the new value.

use std::ops::Deref;

pub(crate) use loom::sync::atomic::Ordering;
use loom::sync::atomic::{self, AtomicBool};

pub(crate) type AtomicU8 = InTurn<atomic::AtomicU8>;
pub(crate) type AtomicU32 = InTurn<atomic::AtomicU32>;
pub(crate) type AtomicU64 = InTurn<atomic::AtomicU64>;
pub(crate) type AtomicUsize = InTurn<atomic::AtomicUsize>;

/// An atomic whose accesses, loads included, loom tries in every order.
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

/// Dereferenced before each access.
impl<A> Deref for InTurn<A> {
    type Target = A;

    fn deref(&self) -> &A {
        // A write, because loom remembers all writes. Relaxed, so that it adds no happens-before relation.
        self.turn.swap(true, Ordering::Relaxed);
        &self.atomic
    }
}
