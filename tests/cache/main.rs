//! The cache and its providers: calls without a layer, restored snapshots, and transitions.

mod call;
mod providers;
mod restore;
mod transitions;

#[path = "../rig/mod.rs"]
mod rig;
