//! Serde support for policies, classifiers, options of chains, snapshots, transitions and the view of a fleet. Feature `serde`.
//!
//! All of it is in this module, so that the types' own modules do not depend on serde.

mod chain;
#[cfg(feature = "http")]
mod classifier;
mod duration;
mod enums;
#[cfg(feature = "fleet")]
mod fleet;
mod health;
mod policy;
mod raw_value;
mod setting;

pub use self::chain::ChainOptions;
#[cfg(feature = "status")]
pub(crate) use self::duration::duration;
