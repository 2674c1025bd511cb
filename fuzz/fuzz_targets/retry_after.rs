//! Reads `Retry-After` and `retry-after-ms`, whatever is in them: what is written by the book is read to the
//! nanosecond, what is no wait is none, and no wait is longer than the policy bears.
//!
//! `cargo fuzz run retry_after`
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tower_health::{Cause, HealthCache, Outcome, http::StatusClassifier};
use tower_health_fuzz::paused;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Any {
        millis: Option<&'a [u8]>,
        wait: Option<&'a [u8]>,
        date: Option<&'a [u8]>,
    },
    Number {
        whole: u64,
        fraction: Option<u32>,
        are_millis: bool,
    },
    Date {
        form: Form,
        end: u64,
        sent: Option<u64>,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Form {
    Imf,
    Rfc850,
    Asctime,
}

const DEFAULT_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
const DAY: u64 = 24 * 60 * 60;
/// The year 10000 begins.
const END_OF_DATES: u64 = 253_402_300_800;
/// The year 2070 begins: until then two digits of a year will do.
const END_OF_TWO_DIGITS: u64 = 3_155_760_000;

fuzz_target!(|input: Input<'_>| match input {
    Input::Any { millis, wait, date } => any(millis, wait, date),
    Input::Number {
        whole,
        fraction,
        are_millis,
    } => number(whole, fraction, are_millis),
    Input::Date { form, end, sent } => self::date(form, end, sent),
});

fn any(millis: Option<&[u8]>, wait: Option<&[u8]>, date: Option<&[u8]>) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("retry-after-ms", millis),
        ("retry-after", wait),
        ("date", date),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
            headers.insert(name, value);
        }
    }
    let said = read(&headers);

    let of = |name| headers.get(name).map(HeaderValue::as_bytes);
    let (millis, wait) = (of("retry-after-ms"), of("retry-after"));
    if let Some(millis) = millis.and_then(digits) {
        assert_near(said, u128::from(millis) * 1_000_000);
    } else if millis.is_none_or(is_no_number) {
        if let Some(seconds) = wait.and_then(digits) {
            assert_eq!(said, Some(Duration::from_secs(seconds)));
        } else if wait
            .is_none_or(|wait| is_no_number(wait) && wait.len() < "Sun Nov  6 08:49:37 1994".len())
        {
            assert_eq!(said, None);
        }
    }
}

/// Few enough that a `f64` holds the number.
fn digits(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let is_plain = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_plain.then(|| {
        let add = |number, digit: &u8| 10 * number + u64::from(digit - b'0');
        text.iter().fold(0, add)
    })
}

fn is_no_number(text: &[u8]) -> bool {
    let is_of_none = |byte: &u8| !b"0123456789.+-einfatyEINFATY \t".contains(byte);
    let has_sign = text.trim_ascii_start().starts_with(b"-");
    let is_zero = || !text.iter().any(|byte| (b'1'..=b'9').contains(byte));
    text.iter().any(is_of_none) || (has_sign && !is_zero())
}

fn number(whole: u64, fraction: Option<u32>, are_millis: bool) {
    let text = match fraction {
        Some(fraction) => format!("{whole}.{fraction:010}"),
        None => whole.to_string(),
    };
    let name = if are_millis {
        "retry-after-ms"
    } else {
        "retry-after"
    };
    let said = read(&headers([(name, &*text)]));

    let unit = if are_millis { 1_000_000 } else { 1_000_000_000 };
    let beyond_point = u128::from(fraction.unwrap_or(0)) * unit / 10_000_000_000;
    let nanos = u128::from(whole) * unit + beyond_point;
    assert_near(said, nanos);
}

/// But for what a `f64` rounds, and a division after it.
fn assert_near(said: Option<Duration>, nanos: u128) {
    let nanos = nanos.min(Duration::MAX.as_nanos());
    let rounding = 1 + (nanos >> 51);
    let difference = said.expect("a number").as_nanos().abs_diff(nanos);
    assert!(difference <= rounding, "{said:?}, not {nanos} ns");
}

fn date(form: Form, end: u64, sent: Option<u64>) {
    let end = match form {
        Form::Rfc850 => end % END_OF_TWO_DIGITS,
        Form::Imf | Form::Asctime => end % END_OF_DATES,
    };
    let end_written = written(form, end);
    if let Some(sent) = sent.map(|sent| sent % END_OF_DATES) {
        let sent_written = written(Form::Imf, sent);
        let said = read(&headers([
            ("retry-after", &*end_written),
            ("date", &sent_written),
        ]));
        assert_eq!(said, Some(Duration::from_secs(end.saturating_sub(sent))));
    } else {
        let left = |now| Some(Duration::from_secs(end).saturating_sub(now));
        let before = now();
        let said = read(&headers([("retry-after", &*end_written)]));
        assert!(left(now()) <= said && said <= left(before), "{said:?}");
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

/// So many seconds after 1970 began; the calendar repeats itself every 400 years.
fn written(form: Form, seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = seconds / DAY;
    let weekday = WEEKDAYS[usize::try_from(days % 7).expect("less than 7")];
    let (mut year, mut day) = (1970 + days / 146_097 * 400, days % 146_097);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let mut months = MONTHS.iter().map(|(month, length)| {
        let is_longer = *month == "Feb" && is_leap(year);
        (*month, length + u64::from(is_longer))
    });
    let month = loop {
        let (month, length) = months.next().expect("less than a year");
        if day < length {
            break month;
        }
        day -= length;
    };
    let (day, time) = (day + 1, seconds % DAY);
    let time = format!("{:02}:{:02}:{:02}", time / 3_600, time / 60 % 60, time % 60);
    let short = &weekday[..3];
    match form {
        Form::Imf => format!("{short}, {day:02} {month} {year} {time} GMT"),
        Form::Rfc850 => format!("{weekday}, {day:02}-{month}-{:02} {time} GMT", year % 100),
        Form::Asctime => format!("{short} {month} {day:2} {time} {year}"),
    }
}

fn headers<const N: usize>(fields: [(&'static str, &str); N]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(name, value.parse().expect("text"));
    }
    headers
}

/// What the headers say, once it is seen that a breaker goes by it as far as it may.
fn read(headers: &HeaderMap) -> Option<Duration> {
    let said = tower_health::http::retry_after(headers);
    let outcome = StatusClassifier::new().outcome(StatusCode::TOO_MANY_REQUESTS, headers);
    let Outcome::Throttled { retry_after, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    // Without a date of its own, a response's wait depends on when it is read.
    if !headers.contains_key("retry-after") || headers.contains_key("date") {
        assert_eq!(*retry_after, said);
    }
    let retry_after = *retry_after;
    paused(async {
        let provider = HealthCache::default().provider("search");
        provider.admit().expect("closed").record(outcome);
        let health = provider.health();
        let wait = retry_after.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT);
        assert_eq!(health.retry_in.unwrap_or_default(), wait);
        assert_eq!(health.cause, Some(Cause::Throttled));
    });
    said
}
