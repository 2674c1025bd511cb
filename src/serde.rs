//! What is written to configuration, files and status pages, and read back. Feature `serde`.
//!
//! All of it is here, so that the types themselves know nothing of serde.

mod duration;
mod given;
mod health;
mod policy;
mod words;

#[cfg(feature = "status")]
pub(crate) use self::duration::duration;
