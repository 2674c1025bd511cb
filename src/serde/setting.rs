//! Optional settings of a table. Errors begin with the setting's name, which serde does not track.

use std::time::Duration;

use super::raw_value::RawValue;
use crate::util::limits;

/// Reads a duration longer than zero.
pub(super) fn wait(name: &str, given: Option<RawValue>) -> Result<Option<Duration>, String> {
    optional(name, given, |given| limits::positive(given.duration()?))
}

pub(super) fn duration(name: &str, given: Option<RawValue>) -> Result<Option<Duration>, String> {
    optional(name, given, RawValue::duration)
}

pub(super) fn count(name: &str, given: Option<RawValue>) -> Result<Option<u32>, String> {
    optional(name, given, |given| limits::at_least_one(given.count()?))
}

pub(super) fn flag(name: &str, given: Option<RawValue>) -> Result<Option<bool>, String> {
    optional(name, given, RawValue::flag)
}

pub(super) fn optional<T>(
    name: &str,
    given: Option<RawValue>,
    read: impl FnOnce(RawValue) -> Result<T, String>,
) -> Result<Option<T>, String> {
    named(name, given.map(read).transpose())
}

/// Returns the value of a setting that has no default.
pub(super) fn must_be_given<T>(name: &str, value: Option<T>) -> Result<T, String> {
    named(name, value.ok_or_else(|| "must be given".into()))
}

pub(super) fn named<T>(name: &str, checked: Result<T, String>) -> Result<T, String> {
    checked.map_err(|must| format!("{name}: {must}"))
}
