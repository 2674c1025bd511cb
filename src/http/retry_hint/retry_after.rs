use std::time::Duration;

use ::http::{HeaderMap, header::RETRY_AFTER};

use super::{
    fields::{date, number, seconds, until, values},
    rate_limit,
};

const IN_MILLIS: [&str; 3] = ["retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after"];

/// Returns the retry time of a response, if it has one.
///
/// Reads headers with the same meaning in every API. The longest of several headers or values is returned.
///
/// | header | value | source |
/// |---|---|---|
/// | `Retry-After` | seconds, or a date | [RFC 9110 §10.2.3] |
/// | `retry-after-ms` | milliseconds | [OpenAI's clients], and clients derived from them |
/// | `x-ms-retry-after-ms` | milliseconds | [Azure's guidelines] |
/// | `x-amz-retry-after` | milliseconds | [AWS's SDKs] |
/// | `RateLimit: "default";r=0;t=30` | seconds: `t`, if `r` is 0 | [the draft], since version 8 |
/// | `RateLimit: limit=10, remaining=0, reset=30` | seconds: `reset`, if `remaining` is 0 | version 7 of the draft |
/// | `RateLimit-Reset: 30` with `RateLimit-Remaining: 0` | seconds; values from 1,000,000,000 are [timestamps][GitLab], and ignored | versions 0 to 6 of the draft |
///
/// Numbers may have decimals. A date is measured against the response's `Date` header, so that wrong clocks do not
/// matter; without that header, against the system clock. Values that are zero, negative, past or invalid are ignored.
/// A wait that exceeds [`Duration::MAX`] is cut to it. Nothing else is clamped here; see the policy's
/// [`Throttle`](crate::Throttle).
///
/// For headers whose meaning differs between APIs, see [`retry_hint`](super::super::retry_hint).
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
/// use tower_health::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(retry_after(&headers), None);
///
/// headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
/// assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
///
/// headers.insert("retry-after-ms", HeaderValue::from_static("7250"));
/// assert_eq!(retry_after(&headers), Some(Duration::from_millis(7_250)));
/// ```
///
/// [AWS's SDKs]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
/// [Azure's guidelines]: https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md
/// [GitLab]: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers
/// [OpenAI's clients]: https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py
/// [RFC 9110 §10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
/// [the draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let in_millis = IN_MILLIS
        .into_iter()
        .flat_map(|name| values(headers, name))
        .flat_map(|text| text.split(','))
        .filter_map(|text| seconds(number(text)? / 1000.0));
    let in_seconds = values(headers, RETRY_AFTER)
        .flat_map(alternatives)
        .filter_map(|text| {
            let wait = || seconds(number(text)?);
            wait().or_else(|| until(date(text)?, headers))
        });
    in_millis
        .chain(in_seconds)
        .chain(rate_limit::resets(headers))
        .max()
}

/// The values that a proxy may have joined with commas. Yields each piece alone, and joined to the one before it,
/// because most date formats contain a comma.
fn alternatives(text: &str) -> impl Iterator<Item = &str> {
    let (mut before, mut start) = (0, 0);
    text.split(',').flat_map(move |piece| {
        let joined = &text[before..start + piece.len()];
        before = start;
        start += piece.len() + 1;
        [piece, joined]
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ::http::{HeaderName, HeaderValue};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn reads_seconds_with_and_without_decimals() {
        for (text, millis) in [
            ("7", 7_000),
            ("007", 7_000),
            (" 7 ", 7_000),
            ("0.25", 250),
            ("1.5", 1_500),
            ("7.", 7_000),
            (".5", 500),
            ("315360000", 315_360_000_000),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(read(&[("retry-after", text)]), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn reads_milliseconds_with_and_without_decimals() {
        for name in IN_MILLIS {
            for (text, micros) in [("1500", 1_500_000), ("0.5", 500), ("7.25", 7_250)] {
                let expected = Some(Duration::from_micros(micros));
                assert_eq!(read(&[(name, text)]), expected, "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn longest_of_several_fields_counts() {
        for (fields, millis) in [
            (
                &[("retry-after", "2"), ("retry-after-ms", "1500")][..],
                2_000,
            ),
            (&[("retry-after", "1"), ("retry-after-ms", "1500")], 1_500),
            (&[("retry-after", "2"), ("retry-after-ms", "soon")], 2_000),
            (&[("retry-after", "-2"), ("retry-after-ms", "1500")], 1_500),
            (
                &[("x-ms-retry-after-ms", "3"), ("x-amz-retry-after", "5")],
                5,
            ),
            (
                &[("retry-after", "2"), ("ratelimit", "\"a\";r=0;t=3")],
                3_000,
            ),
        ] {
            let expected = Some(Duration::from_millis(millis));
            assert_eq!(read(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn longest_of_several_values_counts() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:44 GMT";
        for (values, seconds) in [
            (&["1", "60"][..], 60),
            (&["60", "1"], 60),
            (&["60, 60"], 60),
            (&["1,60,2"], 60),
            (&["soon", "60"], 60),
            (&["-1, 60, , x"], 60),
            (&[DATE, "1"], 7),
            (
                &["Sun, 06 Nov 1994 08:49:44 GMT, Sun, 06 Nov 1994 08:50:37 GMT"],
                60,
            ),
            (&["1, Sunday, 06-Nov-94 08:49:44 GMT, 2"], 7),
            (&["Sun Nov  6 08:49:44 1994, 9"], 9),
        ] {
            let date = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
            let values = values.iter().map(|value| ("retry-after", *value));
            let fields: Vec<_> = date.into_iter().chain(values).collect();
            assert_eq!(
                read(&fields),
                Some(Duration::from_secs(seconds)),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn no_time_and_past_times_are_no_waits() {
        for text in [
            "0",
            "0.0",
            "-0",
            "0, 0",
            "1e-20",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:00 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
            assert_eq!(read(&[date, ("retry-after", text)]), None, "{text:?}");
        }
        assert_eq!(read(&[("retry-after-ms", "0")]), None);
    }

    #[test]
    fn reads_every_form_of_a_date_against_the_responses_own() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:44 GMT", 7),
            ("Sunday, 06-Nov-94 08:49:44 GMT", 7),
            ("Sun Nov  6 08:49:44 1994", 7),
            ("Mon, 07 Nov 1994 08:49:37 GMT", 86_400),
        ] {
            let wait = read(&[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("retry-after", text),
            ]);
            assert_eq!(wait, Some(Duration::from_secs(seconds)), "{text:?}");
        }
    }

    #[test]
    fn a_date_is_measured_against_the_systems_clock_where_the_response_has_no_date() {
        let in_an_hour = httpdate::fmt_http_date(SystemTime::now() + 60 * MINUTE);
        for headers in [
            &[("retry-after", &*in_an_hour)][..],
            &[("retry-after", &*in_an_hour), ("date", "yesterday")][..],
        ] {
            let wait = read(headers).unwrap();
            assert!(wait > 59 * MINUTE && wait <= 60 * MINUTE, "{wait:?}");
        }
        let long_ago = read(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(long_ago, None);
    }

    #[test]
    fn the_furthest_date_does_not_overflow() {
        let wait = read(&[
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ]);
        assert_eq!(wait, Some(Duration::from_secs(253_402_300_799)));
    }

    #[test]
    fn more_than_fits_is_the_longest_wait() {
        let digits = "9".repeat(400);
        for text in ["99999999999999999999", "1e30", "inf", &digits] {
            assert_eq!(
                read(&[("retry-after", text)]),
                Some(Duration::MAX),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        for text in [
            "",
            " ",
            ".",
            "-1",
            "-0.5",
            "-inf",
            "NaN",
            "soon",
            "7s",
            "7 seconds",
            "0x10",
            "7; 8",
            "06 Nov 1994",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(read(&[("retry-after", text)]), None, "{text:?}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_absent() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(b"7\xff").unwrap());
        assert_eq!(retry_after(&headers), None);
    }

    fn read(headers: &[(&str, &str)]) -> Option<Duration> {
        let pairs = headers.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                value.parse::<HeaderValue>().unwrap(),
            )
        });
        retry_after(&pairs.collect())
    }
}
