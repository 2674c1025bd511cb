//! Numbers, dates and values of header fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{
    HeaderMap,
    header::{AsHeaderName, DATE},
};

/// The values of a field, one for each of its lines. Values that are not text are skipped.
pub(super) fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines.filter_map(|value| value.to_str().ok())
}

/// A number that may have decimals. Not negative, nor NaN.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number| *number >= 0.0)
}

/// Exactly zero: some APIs write -1 where there is no limit.
pub(super) fn is_zero(text: &str) -> bool {
    text.trim().parse() == Ok(0.0)
}

/// A wait of so many seconds: `None` for zero, the longest `Duration` for more than fits.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX);
    Some(wait).filter(|wait| !wait.is_zero())
}

/// The wait from the response's `Date` until `end`, which counts from 1970; `None` if it is past.
pub(super) fn until(end: Duration, headers: &HeaderMap) -> Option<Duration> {
    let sent = values(headers, DATE).find_map(date).unwrap_or_else(now);
    end.checked_sub(sent).filter(|wait| !wait.is_zero())
}

/// A date of [RFC 9110 §5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7), since 1970 began.
pub(super) fn date(text: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // The one error is that of a clock from before 1970.
    now.unwrap_or_default()
}
