//! What is written to configuration, files and status pages, and read back. Feature `serde`.
//!
//! All of it is here, so that the types themselves know nothing of serde.

mod duration;
mod enums;
mod health;
mod policy;
mod raw_value;

#[cfg(feature = "status")]
pub(crate) use self::duration::duration;
