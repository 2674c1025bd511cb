//! Settings that a programmer gives: one that is beyond its limit panics at once.

use std::time::Duration;

use super::limits;

/// Refuses a setting of zero time.
#[track_caller]
pub(crate) fn positive(setting: &str, duration: Duration) -> Duration {
    within(&format!("`{setting}`"), limits::positive(duration))
}

/// Refuses a setting of zero.
#[track_caller]
pub(crate) fn at_least_one(setting: &str, count: usize) -> usize {
    within(&format!("`{setting}`"), limits::at_least_one(count))
}

/// Refuses a setting that is beyond its limit.
#[track_caller]
pub(crate) fn within<T>(setting: &str, checked: Result<T, String>) -> T {
    match checked {
        Ok(value) => value,
        Err(must) => panic!("{setting} {must}"),
    }
}
