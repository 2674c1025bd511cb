//! What header fields that name times have in common.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{
    HeaderMap,
    header::{AsHeaderName, DATE},
};

/// The values of a field, one of each line; those that are no text are absent.
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

/// So many seconds; more than fits are the longest wait, and none are no wait.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX);
    Some(wait).filter(|wait| !wait.is_zero())
}

/// From when the response was sent until `end`, both since 1970 began. One that is past by then is no wait.
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
