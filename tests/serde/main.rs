//! Feature `serde`: policies, classifiers and chain options from configuration, and snapshots to files and back.

mod chain;
#[cfg(feature = "http")]
mod classifier;
mod configuration;
mod snapshots;

#[path = "../rig/mod.rs"]
mod rig;
