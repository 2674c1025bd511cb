//! Feature `serde`: policies from configuration, and snapshots to files and back.

mod configuration;
mod snapshots;

#[path = "../rig/mod.rs"]
mod rig;
