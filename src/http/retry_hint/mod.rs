//! Parsers for retry times whose headers or units differ between APIs.
//!
//! [`retry_after`](super::retry_after) reads headers with a fixed meaning. Other headers are ambiguous: a
//! `x-ratelimit-reset: 60` may mean seconds, milliseconds or a point in time. Each function here reads the headers of
//! one kind of API. Select one per provider with [`StatusClassifier::retry_hint`](super::StatusClassifier::retry_hint).
//!
//! | function | header | read if | value |
//! |---|---|---|---|
//! | [`openai`] | `x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens` and the like | `x-ratelimit-remaining-…` is 0 | a duration, `6m0s` |
//! | [`anthropic`] | `anthropic-ratelimit-requests-reset`, `…-tokens-reset` and the like | `anthropic-ratelimit-…-remaining` is 0 | a time, `2026-01-01T00:00:00Z` |
//! | [`github`] | `x-ratelimit-reset` | `x-ratelimit-remaining` is 0 | a time, in seconds since the Unix epoch |
//!
//! Only exhausted limits are read: a limit with a remaining quota still admits calls until its reset. If several are
//! exhausted, the longest wait is returned. Points in time are measured against the response's `Date` header, as for
//! `Retry-After`. Values that are zero, negative, past or invalid are ignored.

mod fields;
mod rate_limit;
pub(super) mod retry_after;
mod rfc3339;

use std::time::Duration;

use ::http::HeaderMap;

use self::fields::{is_zero, number, seconds, until, values};

/// Reads the [limits of OpenAI's API] and of those that follow it, such as Groq's.
///
/// Reads `x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens` and all others with that prefix, if their
/// `x-ratelimit-remaining-…` is 0. A value is a [`duration`].
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, HeaderValue};
/// use tower_health::http::retry_hint;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("59"));
/// headers.insert("x-ratelimit-reset-requests", HeaderValue::from_static("1s"));
/// headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
/// headers.insert("x-ratelimit-reset-tokens", HeaderValue::from_static("6m0s"));
/// assert_eq!(retry_hint::openai(&headers), Some(Duration::from_secs(360)));
/// ```
///
/// [limits of OpenAI's API]: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
#[must_use]
pub fn openai(headers: &HeaderMap) -> Option<Duration> {
    used_up(headers, |remaining| {
        let limit = remaining.strip_prefix("x-ratelimit-remaining-")?;
        Some(format!("x-ratelimit-reset-{limit}"))
    })
    .filter_map(duration)
    .max()
}

/// Reads the [limits of Anthropic's API].
///
/// Reads `anthropic-ratelimit-requests-reset`, `…-tokens-reset`, `…-input-tokens-reset`, `…-output-tokens-reset` and
/// all others with that prefix, if their `anthropic-ratelimit-…-remaining` is 0. A value is a time in the format of
/// [RFC 3339].
///
/// [limits of Anthropic's API]: https://docs.anthropic.com/en/api/rate-limits#response-headers
/// [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339#section-5.6
#[must_use]
pub fn anthropic(headers: &HeaderMap) -> Option<Duration> {
    used_up(headers, |remaining| {
        let prefix = remaining.strip_suffix("-remaining")?;
        let is_limit = prefix.starts_with("anthropic-ratelimit-");
        is_limit.then(|| format!("{prefix}-reset"))
    })
    .filter_map(|text| until(rfc3339::since_epoch(text)?, headers))
    .max()
}

/// Reads the [limits of GitHub's API]: `x-ratelimit-reset`, in seconds since the Unix epoch, if `x-ratelimit-remaining`
/// is 0.
///
/// [limits of GitHub's API]: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#checking-the-status-of-your-rate-limit
#[must_use]
pub fn github(headers: &HeaderMap) -> Option<Duration> {
    used_up(headers, |remaining| {
        (remaining == "x-ratelimit-remaining").then(|| "x-ratelimit-reset".to_owned())
    })
    .filter_map(|text| until(Duration::from_secs(text.trim().parse().ok()?), headers))
    .max()
}

/// Parses a duration in the format of [Go] or of [protocol buffers in JSON]: `6m0s`, `1.5s`, `120ms`, `34.074824224s`.
///
/// Units are `h`, `m`, `s`, `ms`, `us` and `ns`. Returns `None` for a number without a unit, and for a duration of
/// zero.
///
/// Use it in a [`retry_hint`](super::StatusClassifier::retry_hint) closure for headers with other names, and in a
/// [`ReadErrorsLayer`](super::ReadErrorsLayer) for the `retryDelay` in errors of Google's APIs.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::retry_hint::duration;
///
/// assert_eq!(duration("1m0.5s"), Some(Duration::from_millis(60_500)));
/// assert_eq!(duration("60"), None);
/// ```
///
/// [Go]: https://pkg.go.dev/time#ParseDuration
/// [protocol buffers in JSON]: https://protobuf.dev/reference/protobuf/google.protobuf/#duration
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (digits, with_unit) = rest.split_at(rest.find(|c| !is_of_number(c))?);
        let end = with_unit.find(is_of_number).unwrap_or(with_unit.len());
        let (unit, others) = with_unit.split_at(end);
        sum += number(digits)? * seconds_of(unit)?;
        rest = others;
    }
    seconds(sum)
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3_600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

/// The values of the reset fields of exhausted limits. `reset` maps the name of a limit's remaining field to the name
/// of its reset field.
fn used_up(
    headers: &HeaderMap,
    reset: impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = &str> {
    headers
        .keys()
        .filter_map(move |remaining| Some((remaining, reset(remaining.as_str())?)))
        .filter(|(remaining, _)| values(headers, *remaining).any(is_zero))
        .flat_map(|(_, reset)| values(headers, reset))
}
