//! Parses headers that name a wait, with any contents. Valid waits are exact to the nanosecond, and invalid ones are
//! ignored. The longest of several counts, but no wait exceeds the policy's maximum.
//!
//! `cargo fuzz run retry_after`
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tower_health::{
    Cause, HealthCache, Outcome, Policy, Throttle,
    http::{StatusClassifier, retry_hint},
};
use tower_health_fuzz::paused;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Any {
        fields: Vec<(Field, &'a [u8])>,
        date: Option<&'a [u8]>,
    },
    Numbers {
        waits: Vec<Number>,
        are_joined: bool,
    },
    Date {
        form: Form,
        end: u64,
        sent: Option<u64>,
    },
    Limit {
        remaining: u8,
        reset: u32,
        form: Limit,
    },
    Hint {
        remaining: u8,
        end: u64,
        sent: u64,
        nanos: u32,
        minutes_east: i16,
    },
    Duration {
        hours: u16,
        minutes: u16,
        seconds: u16,
        millis: u16,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Field {
    RetryAfter,
    RetryAfterMs,
    XMsRetryAfterMs,
    XAmzRetryAfter,
    RateLimit,
    RateLimitRemaining,
    RateLimitReset,
    OpenAiRemaining,
    OpenAiReset,
    AnthropicRemaining,
    AnthropicReset,
    GitHubRemaining,
    GitHubReset,
}

#[derive(Arbitrary, Debug)]
struct Number {
    whole: u64,
    fraction: Option<u32>,
    field: NumberField,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum NumberField {
    Seconds,
    Millis,
    AzureMillis,
    AwsMillis,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Limit {
    Item,
    Dictionary,
    Fields,
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
/// The beginning of the year 10000.
const END_OF_DATES: u64 = 253_402_300_800;
/// The beginning of the year 2070. Earlier years can have two digits.
const END_OF_TWO_DIGITS: u64 = 3_155_760_000;
/// The smallest number that is not a delay in any draft's field.
const END_OF_DELAYS: u32 = 1_000_000_000;

fuzz_target!(|input: Input<'_>| match input {
    Input::Any { fields, date } => any(&fields, date),
    Input::Numbers { waits, are_joined } => numbers(&waits, are_joined),
    Input::Date { form, end, sent } => self::date(form, end, sent),
    Input::Limit {
        remaining,
        reset,
        form,
    } => limit(remaining, reset, form),
    Input::Hint {
        remaining,
        end,
        sent,
        nanos,
        minutes_east,
    } => hint(remaining, end, sent, nanos, minutes_east),
    Input::Duration {
        hours,
        minutes,
        seconds,
        millis,
    } => duration(hours, minutes, seconds, millis),
});

/// The longest of all headers counts, and each counts as it does alone. A remainder belongs to its reset.
fn any(fields: &[(Field, &[u8])], date: Option<&[u8]>) {
    let mut headers = HeaderMap::new();
    for (field, value) in fields {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(field.name(), value);
        }
    }
    let is_dated = date.is_none();
    let date = date.unwrap_or(b"Sun, 06 Nov 1994 08:49:37 GMT");
    if let Ok(date) = HeaderValue::from_bytes(date) {
        headers.insert("date", date);
    }
    let read_of_all = read(&headers);
    let hints = [
        retry_hint::openai,
        retry_hint::anthropic,
        retry_hint::github,
    ];
    for wait in hints.map(|hint| hint(&headers)).into_iter().flatten() {
        assert!(!wait.is_zero());
    }
    if !is_dated {
        return;
    }
    let of_one = |(name, value): (&HeaderName, &HeaderValue)| {
        let mut headers = headers.clone();
        for field in DEFAULT_FIELDS {
            headers.remove(field);
        }
        headers.insert(name, value.clone());
        tower_health::http::retry_after(&headers)
    };
    let of_pair = || {
        let mut headers = headers.clone();
        for field in DEFAULT_FIELDS {
            headers.remove(field);
        }
        tower_health::http::retry_after(&headers)
    };
    assert_eq!(
        headers.iter().filter_map(of_one).chain(of_pair()).max(),
        read_of_all
    );
}

const DEFAULT_FIELDS: [&str; 5] = [
    "retry-after",
    "retry-after-ms",
    "x-ms-retry-after-ms",
    "x-amz-retry-after",
    "ratelimit",
];

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::RetryAfter => "retry-after",
            Self::RetryAfterMs => "retry-after-ms",
            Self::XMsRetryAfterMs => "x-ms-retry-after-ms",
            Self::XAmzRetryAfter => "x-amz-retry-after",
            Self::RateLimit => "ratelimit",
            Self::RateLimitRemaining => "ratelimit-remaining",
            Self::RateLimitReset => "ratelimit-reset",
            Self::OpenAiRemaining => "x-ratelimit-remaining-tokens",
            Self::OpenAiReset => "x-ratelimit-reset-tokens",
            Self::AnthropicRemaining => "anthropic-ratelimit-tokens-remaining",
            Self::AnthropicReset => "anthropic-ratelimit-tokens-reset",
            Self::GitHubRemaining => "x-ratelimit-remaining",
            Self::GitHubReset => "x-ratelimit-reset",
        }
    }
}

fn numbers(waits: &[Number], are_joined: bool) {
    let mut headers = HeaderMap::new();
    for field in [
        NumberField::Seconds,
        NumberField::Millis,
        NumberField::AzureMillis,
        NumberField::AwsMillis,
    ] {
        let texts = waits.iter().filter(|wait| wait.field == field);
        let texts: Vec<_> = texts.map(Number::text).collect();
        let lines = if are_joined && !texts.is_empty() {
            vec![texts.join(", ")]
        } else {
            texts
        };
        for line in lines {
            headers.append(field.name(), line.parse().expect("text"));
        }
    }
    let longest = waits.iter().map(Number::nanos).max().unwrap_or(0);
    match read(&headers) {
        Some(read) => assert_near(read, longest),
        None => assert_eq!(longest, 0),
    }
}

impl Number {
    fn text(&self) -> String {
        match self.fraction {
            Some(fraction) => format!("{}.{fraction:010}", self.whole),
            None => self.whole.to_string(),
        }
    }

    fn nanos(&self) -> u128 {
        let unit = match self.field {
            NumberField::Seconds => 1_000_000_000,
            _ => 1_000_000,
        };
        let beyond_point = u128::from(self.fraction.unwrap_or(0)) * unit / 10_000_000_000;
        u128::from(self.whole) * unit + beyond_point
    }
}

impl NumberField {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "retry-after",
            Self::Millis => "retry-after-ms",
            Self::AzureMillis => "x-ms-retry-after-ms",
            Self::AwsMillis => "x-amz-retry-after",
        }
    }
}

/// Allows for the rounding of an `f64` and of one division.
fn assert_near(read: Duration, nanos: u128) {
    let nanos = nanos.min(Duration::MAX.as_nanos());
    let rounding = 1 + (nanos >> 51);
    let difference = read.as_nanos().abs_diff(nanos);
    assert!(difference <= rounding, "{read:?}, not {nanos} ns");
}

fn date(form: Form, end: u64, sent: Option<u64>) {
    let end = match form {
        Form::Rfc850 => end % END_OF_TWO_DIGITS,
        Form::Imf | Form::Asctime => end % END_OF_DATES,
    };
    let end_written = written(form, end);
    let wait = |left: Duration| Some(left).filter(|left| !left.is_zero());
    if let Some(sent) = sent.map(|sent| sent % END_OF_DATES) {
        let sent_written = written(Form::Imf, sent);
        let read = read(&headers([
            ("retry-after", &*end_written),
            ("date", &sent_written),
        ]));
        assert_eq!(read, wait(Duration::from_secs(end.saturating_sub(sent))));
    } else {
        let left = |now| wait(Duration::from_secs(end).saturating_sub(now));
        let before = now();
        let read = read(&headers([("retry-after", &*end_written)]));
        assert!(left(now()) <= read && read <= left(before), "{read:?}");
    }
}

/// The reset of a limit counts only if the remainder is zero.
fn limit(remaining: u8, reset: u32, form: Limit) {
    let (remains, resets) = (remaining.to_string(), reset.to_string());
    let headers = match form {
        Limit::Item => headers([(
            "ratelimit",
            &*format!(r#""a,;=\"";r={remains};t={resets}, "b";r=1;t=7"#),
        )]),
        Limit::Dictionary => headers([(
            "ratelimit",
            &*format!("limit=300, remaining={remains}, reset={resets}"),
        )]),
        Limit::Fields => headers([
            ("ratelimit-remaining", &*remains),
            ("ratelimit-reset", &resets),
        ]),
    };
    let is_wait = remaining == 0 && (1..END_OF_DELAYS).contains(&reset);
    let expected = is_wait.then(|| Duration::from_secs(reset.into()));
    assert_eq!(read(&headers), expected);
}

/// A time in seconds since 1970 equals the same time in RFC 3339, in any zone.
fn hint(remaining: u8, end: u64, sent: u64, nanos: u32, minutes_east: i16) {
    // At least a day from both ends of the four-digit years, for the zones.
    let end = DAY + end % (END_OF_DATES - 2 * DAY);
    let (sent, nanos) = (sent % END_OF_DATES, nanos % 1_000_000_000);
    let minutes_east = minutes_east % (24 * 60);
    let local = end.saturating_add_signed(60 * i64::from(minutes_east));
    let zone = minutes_east.unsigned_abs();
    let sign = if minutes_east < 0 { '-' } else { '+' };
    let (year, month, day, time) = parts_of(local);
    let (hours, minutes) = (zone / 60, zone % 60);
    let text = format!(
        "{year}-{:02}-{day:02}T{time}.{nanos:09}{sign}{hours:02}:{minutes:02}",
        month + 1
    );
    let sent_written = written(Form::Imf, sent);
    let headers = headers([
        ("date", &*sent_written),
        ("x-ratelimit-remaining", &remaining.to_string()),
        ("x-ratelimit-reset", &end.to_string()),
        (
            "anthropic-ratelimit-requests-remaining",
            &remaining.to_string(),
        ),
        ("anthropic-ratelimit-requests-reset", &text),
    ]);
    let wait = |end: Duration| {
        let left = end.saturating_sub(Duration::from_secs(sent));
        Some(left).filter(|left| remaining == 0 && !left.is_zero())
    };
    let whole = Duration::from_secs(end);
    assert_eq!(retry_hint::github(&headers), wait(whole));
    let exact = whole + Duration::from_nanos(nanos.into());
    assert_eq!(retry_hint::anthropic(&headers), wait(exact), "{text}");
    assert_eq!(retry_hint::openai(&headers), None);
    assert_eq!(read(&headers), None);
}

fn duration(hours: u16, minutes: u16, seconds: u16, millis: u16) {
    let text = format!("{hours}h{minutes}m{seconds}s{millis}ms");
    let of = |count: u16, millis: u128| u128::from(count) * millis;
    let sum = of(hours, 3_600_000) + of(minutes, 60_000) + of(seconds, 1_000) + of(millis, 1);
    match retry_hint::duration(&text) {
        Some(read) => assert_near(read, sum * 1_000_000),
        None => assert_eq!(sum, 0),
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

/// Formats a time in seconds since 1970.
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
    let (year, month, day, time) = parts_of(seconds);
    let month = MONTHS[month].0;
    let days = seconds / DAY;
    let weekday = WEEKDAYS[usize::try_from(days % 7).expect("less than 7")];
    let short = &weekday[..3];
    match form {
        Form::Imf => format!("{short}, {day:02} {month} {year} {time} GMT"),
        Form::Rfc850 => format!("{weekday}, {day:02}-{month}-{:02} {time} GMT", year % 100),
        Form::Asctime => format!("{short} {month} {day:2} {time} {year}"),
    }
}

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

/// Returns the year, the month from 0, the day and the time of day of a time in seconds since 1970. The calendar repeats
/// every 400 years.
fn parts_of(seconds: u64) -> (u64, usize, u64, String) {
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = seconds / DAY;
    let (mut year, mut day) = (1970 + days / 146_097 * 400, days % 146_097);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let mut months = MONTHS.iter().enumerate();
    let month = loop {
        let (month, (name, length)) = months.next().expect("less than a year");
        let length = length + u64::from(*name == "Feb" && is_leap(year));
        if day < length {
            break month;
        }
        day -= length;
    };
    let time = seconds % DAY;
    let time = format!("{:02}:{:02}:{:02}", time / 3_600, time / 60 % 60, time % 60);
    (year, month, day + 1, time)
}

fn headers<const N: usize>(fields: [(&'static str, &str); N]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(name, value.parse().expect("text"));
    }
    headers
}

/// The wait that the headers name, after asserting that a breaker follows it up to the policy's maximum.
fn read(headers: &HeaderMap) -> Option<Duration> {
    let read = tower_health::http::retry_after(headers);
    let outcome = StatusClassifier::new().outcome(StatusCode::TOO_MANY_REQUESTS, headers);
    let Outcome::Throttled { retry_after, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    // Without a date of its own, a response's wait depends on when it is read.
    if headers.contains_key("date") {
        assert_eq!(*retry_after, read);
    }
    assert_ne!(read, Some(Duration::ZERO));
    let retry_after = *retry_after;
    paused(async {
        let throttle = Throttle::default().jitter(0.0);
        let provider = HealthCache::new(Policy::new().throttle(throttle)).provider("search");
        provider.admit().expect("closed").record(outcome);
        let health = provider.health();
        let wait = retry_after.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT);
        assert_eq!(health.retry_in.unwrap_or_default(), wait);
        assert_eq!(health.cause, Some(Cause::Throttled));
    });
    read
}
