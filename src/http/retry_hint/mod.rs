//! Readers of wait hints whose unit each API chooses for itself.
//!
//! [`retry_after`](super::retry_after) reads the headers that mean one thing wherever they occur. The headers here do not: a
//! `x-ratelimit-reset: 60` may be seconds, milliseconds or a point in time. So each function reads the headers of one kind
//! of API, and [`StatusClassifier::retry_hint`](super::StatusClassifier::retry_hint) says which kind a provider is.
//!
//! | function | header | is read where | as |
//! |---|---|---|---|
//! | [`openai`] | `x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens` and the like | `x-ratelimit-remaining-…` is 0 | a duration, `6m0s` |
//! | [`anthropic`] | `anthropic-ratelimit-requests-reset`, `…-tokens-reset` and the like | `anthropic-ratelimit-…-remaining` is 0 | a time, `2026-01-01T00:00:00Z` |
//! | [`github`] | `x-ratelimit-reset` | `x-ratelimit-remaining` is 0 | a time, in seconds since 1970 began |
//!
//! A limit that is not used up names no time, whatever its reset: it will be full again then, and serves until then. Of
//! several that are used up, the longest wait counts. Times are measured against the response's own `Date`, as those of
//! `Retry-After` are. What is zero, negative, past or cannot be read names no time.

mod fields;
mod rate_limit;
pub(super) mod retry_after;
mod rfc3339;

use std::time::Duration;

use ::http::HeaderMap;

use self::fields::{is_zero, number, seconds, until, values};

/// Reads the [limits of OpenAI's API] and of those that follow it, such as Groq's.
///
/// Of `x-ratelimit-reset-requests`, `x-ratelimit-reset-tokens` and all others of that prefix, those count whose
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
/// Of `anthropic-ratelimit-requests-reset`, `…-tokens-reset`, `…-input-tokens-reset`, `…-output-tokens-reset` and all others
/// of that prefix, those count whose `anthropic-ratelimit-…-remaining` is 0. A value is a time of [RFC 3339].
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

/// Reads the [limits of GitHub's API]: `x-ratelimit-reset`, in seconds since 1970 began, where `x-ratelimit-remaining` is 0.
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

/// Reads a duration as [Go writes it], and as [protocol buffers do in JSON]: `6m0s`, `1.5s`, `120ms`, `34.074824224s`.
///
/// Units are `h`, `m`, `s`, `ms`, `us` and `ns`. A number without a unit is none, nor is a duration of no length. For
/// [closures](super::StatusClassifier::retry_hint) that read headers of another name, and for
/// [those](super::ReadErrorsLayer) that read the `retryDelay` in an error of Google's APIs.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::retry_hint::duration;
///
/// assert_eq!(duration("1m0.5s"), Some(Duration::from_millis(60_500)));
/// assert_eq!(duration("60"), None);
/// ```
///
/// [Go writes it]: https://pkg.go.dev/time#ParseDuration
/// [protocol buffers do in JSON]: https://protobuf.dev/reference/protobuf/google.protobuf/#duration
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

/// The values of the reset fields of used-up limits. From the name of a field that counts what is left of a limit, `reset`
/// makes the name of that limit's reset field.
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
