//! Serde support for policies, snapshots and transitions. Feature `serde`.
//!
//! All of it is in this module, so that the types' own modules do not depend on serde.

mod duration;
mod enums;
mod health;
mod policy;
mod raw_value;

#[cfg(feature = "status")]
pub(crate) use self::duration::duration;
