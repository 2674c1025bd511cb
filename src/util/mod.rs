//! What every room may use: boxed errors, code of others that may panic, time, and what threads meet at.

pub(crate) mod errors;
pub(crate) mod limits;
pub(crate) mod line;
pub(crate) mod panics;
pub(crate) mod settings;
pub(crate) mod sync;
pub(crate) mod time;
