//! Locks and atomics: the standard library's, or [loom](https://docs.rs/loom)'s, which tries every interleaving of threads.
//!
//! `Arc`, `OnceLock`, `ArcSwap` and tokio's channels are not replaced, so loom tries no interleavings inside them.

#[cfg(loom)]
pub(crate) mod atomic;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, RwLock};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, atomic};

/// Declares a static. Under loom, each execution has its own.
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(loom)]
        loom::lazy_static! { $(#[$attribute])* static ref $name: $type = $value; }
        #[cfg(not(loom))]
        $(#[$attribute])* static $name: $type = $value;
    };
}

/// Declares a thread local.
macro_rules! local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const $value:block;) => {
        #[cfg(loom)]
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
        #[cfg(not(loom))]
        thread_local! { $(#[$attribute])* static $name: $type = const $value; }
    };
}

pub(crate) use {global, local};

/// Returns `many`, or `few` under loom, where more would give too many interleavings.
pub(crate) const fn many_or_few(many: usize, few: usize) -> usize {
    if cfg!(loom) { few } else { many }
}
