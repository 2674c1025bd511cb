use std::{mem, time::Duration};

use ::http::HeaderMap;

use super::fields::{is_zero, number, seconds, values};

/// Over thirty years. Larger values are no waits, but Unix timestamps, which some APIs send in the draft's field.
const NO_DELAY: f64 = 1e9;

/// The reset times of exhausted limits, by any version of the [draft of the `RateLimit` fields]: `"default";r=0;t=30`
/// since version 8, `limit=10, remaining=0, reset=30` in version 7, and `RateLimit-Remaining: 0` with
/// `RateLimit-Reset: 30` before. All are in seconds.
///
/// [draft of the `RateLimit` fields]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
pub(super) fn resets(headers: &HeaderMap) -> impl Iterator<Item = Duration> {
    let of_items = values(headers, "ratelimit")
        .flat_map(|text| parts(text, ','))
        .filter_map(|item| reset(item, ';', "r", "t"));
    let of_dictionary =
        values(headers, "ratelimit").filter_map(|text| reset(text, ',', "remaining", "reset"));
    let of_fields = values(headers, "ratelimit-reset")
        .filter(|_| values(headers, "ratelimit-remaining").any(is_zero));
    of_items
        .chain(of_dictionary)
        .chain(of_fields)
        .filter_map(number)
        .filter(|number| *number < NO_DELAY)
        .filter_map(seconds)
}

/// The value of `reset` if the value of `remaining` is 0.
fn reset<'a>(pairs: &'a str, separator: char, remaining: &str, reset: &str) -> Option<&'a str> {
    // The last of several equal keys wins: RFC 9651 §3.1.2 and §3.2.
    let value_of = |name| {
        let pairs = parts(pairs, separator).filter_map(|part| part.split_once('='));
        let named = pairs.filter(|(key, _)| key.trim() == name);
        named.map(|(_, value)| value).last()
    };
    value_of(remaining).filter(|value| is_zero(value))?;
    value_of(reset)
}

/// Splits at separators, except within quoted strings.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_string, mut is_escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if mem::take(&mut is_escaped) => {}
            '\\' if is_string => is_escaped = true,
            '"' => is_string = !is_string,
            _ => {}
        }
        c == separator && !is_string
    })
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn reads_the_reset_of_a_limit_that_is_used_up() {
        for (fields, expected) in [
            (&[("ratelimit", r#""default";r=0;t=30"#)][..], 30),
            (&[("ratelimit", r#""a";r=0;t=30, "b";r=0;t=60"#)], 60),
            (&[("ratelimit", r#""a";r=0;t=30, "b";r=9;t=60"#)], 30),
            (&[("ratelimit", r#""a"; t=30 ; pk=:cHg=:; r=0"#)], 30),
            (&[("ratelimit", r#""x,y;\";r=1;t=9";r=0;t=30"#)], 30),
            (&[("ratelimit", r#""a";r=1;r=0;t=9;t=30"#)], 30),
            (&[("ratelimit", "limit=10, remaining=0, reset=30")], 30),
            (&[("ratelimit", "default;r=0;t=30")], 30),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")],
                30,
            ),
        ] {
            let longest = resets(&headers(fields)).max();
            assert_eq!(longest, Some(Duration::from_secs(expected)), "{fields:?}");
        }
    }

    #[test]
    fn no_other_reset_is_a_wait() {
        for fields in [
            &[("ratelimit", r#""default";r=1;t=30"#)][..],
            &[("ratelimit", r#""default";r=-1;t=30"#)],
            &[("ratelimit", r#""default";t=30"#)],
            &[("ratelimit", r#""default";r=0"#)],
            &[("ratelimit", r#""default";r=0;t=0"#)],
            &[("ratelimit", r#""default";r=0;t=-30"#)],
            &[("ratelimit", r#""default";r=0, "other";t=30"#)],
            &[("ratelimit", r#""default;r=0;t=30""#)],
            &[("ratelimit", "limit=10, remaining=1, reset=30")],
            &[("ratelimit-reset", "30")],
            &[("ratelimit-remaining", "1"), ("ratelimit-reset", "30")],
            // GitLab sends a Unix timestamp.
            &[
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "1609844400"),
            ],
            &[("ratelimit-policy", r#""default";q=10;w=60"#)],
        ] {
            assert_eq!(resets(&headers(fields)).max(), None, "{fields:?}");
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        fields.iter().map(pair).collect()
    }
}
