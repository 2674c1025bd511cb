//! Parsing the values of header fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{
    HeaderMap,
    header::{AsHeaderName, DATE},
};

/// The values of all lines of a field. Values that are not text are skipped.
pub(super) fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines.filter_map(|value| value.to_str().ok())
}

/// Parses a decimal number. `None` if it is negative or NaN.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number| *number >= 0.0)
}

/// Returns whether the number is exactly zero: some APIs send -1 for an unlimited quota.
pub(super) fn is_zero(text: &str) -> bool {
    text.trim().parse() == Ok(0.0)
}

/// A number of seconds as a duration. `None` for zero; `Duration::MAX` if it does not fit.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX);
    Some(wait).filter(|wait| !wait.is_zero())
}

/// The time from the response's `Date` to `end`, which counts from the Unix epoch. `None` if `end` is past.
pub(super) fn until(end: Duration, headers: &HeaderMap) -> Option<Duration> {
    let sent = values(headers, DATE).find_map(date).unwrap_or_else(now);
    end.checked_sub(sent).filter(|wait| !wait.is_zero())
}

/// Parses a date of [RFC 9110 §5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7) as time since the Unix epoch.
pub(super) fn date(text: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // Fails only if the clock is before 1970.
    now.unwrap_or_default()
}
