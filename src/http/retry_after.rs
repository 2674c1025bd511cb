use std::time::{Duration, SystemTime};

use ::http::{
    HeaderMap,
    header::{AsHeaderName, DATE, RETRY_AFTER},
};

const RETRY_AFTER_MS: &str = "retry-after-ms";

/// How long a response asks to be left alone, if it does.
///
/// Read are `retry-after-ms`, milliseconds, as the APIs of language models send it; else
/// `Retry-After` ([RFC 9110 §10.2.3]), in seconds or as a date. Numbers may have decimals. A date is
/// measured against the response's own `Date`, so that a clock that is wrong on either side does no
/// harm, and against the system's clock where it has none; one in the past is no wait at all.
///
/// What cannot be read is taken for absent, and a wait too long to be held for the longest. Nothing
/// is clamped here: that is for the policy's [`Throttle`](crate::Throttle).
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
/// ```
///
/// [RFC 9110 §10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let in_millis = || wait(text(headers, RETRY_AFTER_MS)?, 1000.0);
    let in_seconds = || wait(text(headers, RETRY_AFTER)?, 1.0);
    let as_date = || Some(until(date(headers, RETRY_AFTER)?, headers));
    in_millis().or_else(in_seconds).or_else(as_date)
}

/// A number of which `per_second` are a second. Not negative, nor NaN.
fn wait(number: &str, per_second: f64) -> Option<Duration> {
    let number: f64 = number.parse().ok().filter(|number| *number >= 0.0)?;
    // The one error left is that of more than fits.
    Some(Duration::try_from_secs_f64(number / per_second).unwrap_or(Duration::MAX))
}

fn until(end: SystemTime, headers: &HeaderMap) -> Duration {
    let sent = date(headers, DATE).unwrap_or_else(SystemTime::now);
    // The one error is that of a date in the past.
    end.duration_since(sent).unwrap_or_default()
}

fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderName, HeaderValue};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn reads_seconds_with_and_without_decimals() {
        for (text, millis) in [
            ("7", 7_000),
            ("0", 0),
            ("007", 7_000),
            (" 7 ", 7_000),
            ("0.25", 250),
            ("1.5", 1_500),
            ("7.", 7_000),
            (".5", 500),
            ("-0", 0),
            ("315360000", 315_360_000_000),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(read(&[("retry-after", text)]), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn reads_milliseconds_with_and_without_decimals() {
        for (text, micros) in [("1500", 1_500_000), ("0", 0), ("0.5", 500), ("7.25", 7_250)] {
            let expected = Duration::from_micros(micros);
            assert_eq!(
                read(&[("retry-after-ms", text)]),
                Some(expected),
                "{text:?}"
            );
        }
    }

    #[test]
    fn milliseconds_are_preferred_where_they_can_be_read() {
        let both = |millis| read(&[("retry-after", "2"), ("retry-after-ms", millis)]);
        assert_eq!(both("1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(both("soon"), Some(Duration::from_secs(2)));
        assert_eq!(both("-1"), Some(Duration::from_secs(2)));
    }

    #[test]
    fn reads_every_form_of_a_date_against_the_responses_own() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:44 GMT", 7),
            ("Sunday, 06-Nov-94 08:49:44 GMT", 7),
            ("Sun Nov  6 08:49:44 1994", 7),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
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
        assert_eq!(long_ago, Some(Duration::ZERO));
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
            "1,5",
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
