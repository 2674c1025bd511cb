//! What threads meet at: the standard library's, or [loom](https://docs.rs/loom)'s, which has them meet in every order.
//!
//! What loom has nothing for is left to the standard library and to tokio in either case: references
//! that are counted, what is made once, and how others are told. There loom tries no other order than
//! those that the rest leads to.

#[cfg(loom)]
pub(crate) mod atomic;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, RwLock};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, atomic};

/// A static; under loom each execution has its own.
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(loom)]
        loom::lazy_static! { $(#[$attribute])* static ref $name: $type = $value; }
        #[cfg(not(loom))]
        $(#[$attribute])* static $name: $type = $value;
    };
}

/// A static of each thread.
macro_rules! local {
    (static $name:ident: $type:ty = const $value:block;) => {
        #[cfg(loom)]
        loom::thread_local! { static $name: $type = $value; }
        #[cfg(not(loom))]
        thread_local! { static $name: $type = const $value; }
    };
}

pub(crate) use {global, local};

/// How many of something there are; under loom few, or there were too many orders.
pub(crate) const fn many_or_few(many: usize, few: usize) -> usize {
    if cfg!(loom) { few } else { many }
}
