//! The layer: by itself, with a key, in another, and among tower's middleware.

mod calls;
mod compositions;
mod contract;
mod hanging;
mod keyed;
#[cfg(feature = "load")]
mod load;
mod nested;
mod outage;
#[cfg(feature = "http")]
mod per_authority;
mod random_stacks;
mod storm;

#[path = "../rig/mod.rs"]
mod rig;
