//! Checks of settings in code, which panic if a value is out of range.

use std::time::Duration;

use super::limits;

/// Panics if `duration` is zero.
#[track_caller]
pub(crate) fn positive(setting: &str, duration: Duration) -> Duration {
    within(&format!("`{setting}`"), limits::positive(duration))
}

/// Panics if `count` is zero.
#[track_caller]
pub(crate) fn at_least_one(setting: &str, count: usize) -> usize {
    within(&format!("`{setting}`"), limits::at_least_one(count))
}

/// Panics if the check of a setting has failed.
#[track_caller]
pub(crate) fn within<T>(setting: &str, checked: Result<T, String>) -> T {
    match checked {
        Ok(value) => value,
        Err(must) => panic!("{setting} {must}"),
    }
}
