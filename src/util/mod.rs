//! Helpers that every module may use, and that use none of them.
//!
//! `errors` walks through sources and boxes. `limits` checks a setting's value: `settings` panics if it is out of range, and
//! `serde` returns an error. `line` escapes foreign text for logs. `panics` runs foreign code that may panic. `task` spawns a
//! task and stops it. `time` has deadlines that cannot overflow. `sync` has the locks and atomics, which loom replaces in its tests.

pub(crate) mod errors;
pub(crate) mod limits;
pub(crate) mod line;
pub(crate) mod panics;
pub(crate) mod settings;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod time;
