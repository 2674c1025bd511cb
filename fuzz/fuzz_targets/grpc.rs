//! A gRPC call with any status, pushback, HTTP status and body. The recorded outcome, and whether a chain goes on, match
//! the table of `GrpcClassifier`.
//!
//! `cargo fuzz run grpc`
#![no_main]

use std::{future::ready, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    Advance, Backoff, BoxError, Cause, HealthCache, HealthLayer, Policy, Provider, Throttle, Trip,
    http::{GrpcClassifier, HealthBody},
};
use tower_health_fuzz::{Ending, Script, paused};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    http_status: HttpStatus,
    headers: Fields<'a>,
    frames: Vec<&'a [u8]>,
    end: End<'a>,
}

#[derive(Arbitrary, Debug)]
enum HttpStatus {
    Ok,
    Any(u16),
}

#[derive(Arbitrary, Debug)]
struct Fields<'a> {
    status: Option<Number<'a>>,
    pushback: Option<Number<'a>>,
    details: Option<Details<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Details<'a> {
    /// A `RetryInfo`, after a detail of any type.
    RetryInfo {
        before: &'a [u8],
        seconds: u32,
        is_padded: bool,
    },
    /// Any bytes, which must do no harm. They are too few for the type name of a `RetryInfo`.
    Bytes([u8; 32]),
    Text([u8; 32]),
}

#[derive(Arbitrary, Debug)]
enum Number<'a> {
    Small(u8),
    Written { before: Before, number: u64 },
    Text(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Before {
    Nothing,
    Plus,
    Minus,
    Zeros,
    Space,
}

#[derive(Arbitrary, Debug)]
enum End<'a> {
    Plain,
    Announced,
    Trailers(Fields<'a>),
    Reset,
    DroppedByReader,
}

/// The recorded outcome, and how long the provider is out.
#[derive(Debug, PartialEq)]
enum Verdict {
    Success,
    Neutral,
    Failure(String, Duration),
    Throttled(Duration),
}

const BACKOFF: Duration = Duration::from_secs(60);
const DEFAULT_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

fuzz_target!(|input: Input<'_>| {
    let at_headers = input.at_headers();
    let goes_on = GrpcClassifier::new().advance(Ok(&input.response()));
    assert_eq!(
        goes_on.is_some(),
        at_headers.as_ref().is_some_and(Verdict::speaks_against),
        "{goes_on:?}"
    );
    paused(async {
        let provider = with_a_strike();
        let mut body = respond(&provider, input.response()).await;
        assert_eq!(heard(&provider), at_headers.unwrap_or(Verdict::Neutral));

        let mut received = Vec::new();
        while received.len() < input.frames.len() {
            let frame = body.frame().await.expect("data").expect("data");
            received.push(frame.into_data().expect("data"));
        }
        assert_eq!(received, input.frames, "handed on as they are");
        if !matches!(input.end, End::DroppedByReader) {
            let _end = body.frame().await;
        }
        drop(body);
        assert_eq!(heard(&provider), input.at_end());
    });
});

impl Input<'_> {
    fn response(&self) -> Response<Script> {
        let ending = match &self.end {
            End::Plain => Ending::Plain,
            End::Announced => Ending::Announced,
            End::Trailers(fields) => Ending::Trailers(fields.map()),
            End::Reset => Ending::Reset,
            End::DroppedByReader => Ending::Silence,
        };
        let frames = self.frames.iter().copied().map(Bytes::copy_from_slice);
        let mut response = Response::new(Script::new(frames, ending));
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers.map();
        response
    }

    fn status(&self) -> StatusCode {
        match self.http_status {
            HttpStatus::Ok => StatusCode::OK,
            HttpStatus::Any(code) => StatusCode::from_u16(100 + code % 900).expect("a status"),
        }
    }

    /// `None` if the headers do not decide.
    fn at_headers(&self) -> Option<Verdict> {
        let is_empty = self.frames.is_empty() && matches!(self.end, End::Announced);
        // Their bodies are never judged.
        let has_no_content = matches!(self.status().as_u16(), 100..200 | 204 | 205 | 304);
        let of_nothing = || (is_empty || has_no_content).then(|| failure("no grpc-status"));
        let of_fields = self.headers.verdict();
        of_fields.or_else(|| of_http(self.status()).or_else(of_nothing))
    }

    fn at_end(&self) -> Verdict {
        let of_end = || match &self.end {
            End::Plain | End::Announced => failure("no grpc-status"),
            End::Trailers(fields) => fields.verdict().unwrap_or(failure("no grpc-status")),
            End::Reset => failure("reset by peer"),
            End::DroppedByReader => Verdict::Neutral,
        };
        self.at_headers().unwrap_or_else(of_end)
    }
}

impl Fields<'_> {
    fn map(&self) -> HeaderMap {
        let value = |number: &Option<Number<'_>>| number.as_ref().and_then(Number::value);
        let status = value(&self.status).map(|value| ("grpc-status", value));
        let pushback = value(&self.pushback).map(|value| ("grpc-retry-pushback-ms", value));
        let details = self.details.as_ref().and_then(Details::value);
        let details = details.map(|value| ("grpc-status-details-bin", value));
        let fields = [status, pushback, details].into_iter().flatten();
        let fields = fields.map(|(name, value)| (name.parse().expect("a name"), value));
        fields.collect()
    }

    fn retry_delay(&self) -> Option<Duration> {
        match self.details {
            Some(Details::RetryInfo { seconds, .. }) => Some(Duration::from_secs(seconds.into())),
            Some(Details::Bytes(_) | Details::Text(_)) | None => None,
        }
    }

    fn verdict(&self) -> Option<Verdict> {
        let status = self
            .status
            .as_ref()
            .filter(|status| status.value().is_some())?;
        let pushback = self.pushback.as_ref().and_then(Number::read);
        let pushback = pushback.map(Duration::from_millis);
        let named = pushback
            .max(self.retry_delay())
            .filter(|wait| !wait.is_zero());
        let named = named.map(|wait| wait.min(LONGEST_WAIT));
        let wait = named.unwrap_or_default().max(BACKOFF);
        let failure = |name: &str| Verdict::Failure(name.to_owned(), wait);
        Some(match status.read() {
            Some(0) => Verdict::Success,
            Some(1 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 12 | 16) => Verdict::Neutral,
            Some(4) => failure("DEADLINE_EXCEEDED"),
            Some(8) => named.map_or(failure("RESOURCE_EXHAUSTED"), Verdict::Throttled),
            Some(13) => failure("INTERNAL"),
            Some(14) => failure("UNAVAILABLE"),
            Some(15) => failure("DATA_LOSS"),
            _ => failure("UNKNOWN"),
        })
    }
}

impl Details<'_> {
    /// `None` if a header cannot have this value.
    fn value(&self) -> Option<HeaderValue> {
        match self {
            Self::RetryInfo {
                before,
                seconds,
                is_padded,
            } => {
                let before = field(3, &field(1, before));
                let info = field(1, &[vec![0x08], varint((*seconds).into())].concat());
                let url = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
                let detail = field(3, &[url, field(2, &info)].concat());
                let engine = if *is_padded {
                    STANDARD
                } else {
                    STANDARD_NO_PAD
                };
                engine.encode([before, detail].concat()).parse().ok()
            }
            Self::Bytes(bytes) => STANDARD.encode(bytes).parse().ok(),
            Self::Text(text) => HeaderValue::from_bytes(text).ok(),
        }
    }
}

/// A field of bytes, as protobuf encodes it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = varint(bytes.len().try_into().expect("64 bits"));
    [&[number << 3 | 2], &*length, bytes].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("7 bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("7 bits"));
    bytes
}

impl Number<'_> {
    /// `None` if a header cannot have this value.
    fn value(&self) -> Option<HeaderValue> {
        match self {
            Self::Small(number) => Some(u16::from(*number).into()),
            Self::Written { before, number } => {
                let before = match before {
                    Before::Nothing => "",
                    Before::Plus => "+",
                    Before::Minus => "-",
                    Before::Zeros => "00",
                    Before::Space => " ",
                };
                format!("{before}{number}").parse().ok()
            }
            Self::Text(text) => HeaderValue::from_bytes(text).ok(),
        }
    }

    /// Parses digits only, up to 32 bits.
    fn read(&self) -> Option<u64> {
        let value = self.value()?;
        let digits = value.as_bytes();
        let mut number = 0_u64;
        for digit in digits {
            let digit = char::from(*digit).to_digit(10)?;
            number = number.saturating_mul(10).saturating_add(digit.into());
        }
        let is_number = !digits.is_empty() && number <= u32::MAX.into();
        is_number.then_some(number)
    }
}

impl Verdict {
    fn speaks_against(&self) -> bool {
        matches!(self, Self::Failure(..) | Self::Throttled(_))
    }
}

/// `None` if the status does not count against the provider, so that the body decides.
fn of_http(status: StatusCode) -> Option<Verdict> {
    let is_like_others = |code: u16| !matches!(code, 501 | 505 | 506 | 507 | 508 | 510);
    match status.as_u16() {
        100..400 => None,
        408 => Some(failure(status.as_str())),
        429 => Some(Verdict::Throttled(DEFAULT_WAIT)),
        code @ 500.. if is_like_others(code) => Some(failure(status.as_str())),
        _ => Some(Verdict::Neutral),
    }
}

fn failure(reason: &str) -> Verdict {
    Verdict::Failure(reason.to_owned(), BACKOFF)
}

/// A provider that trips at the second failure and has one already.
fn with_a_strike() -> Provider {
    let policy = Policy::new()
        .trip(Trip::consecutive(2))
        .backoff(Backoff::constant(BACKOFF))
        .throttle(Throttle::default().jitter(0.0));
    let provider = HealthCache::new(policy).provider("search");
    provider.mark_unhealthy("a strike");
    provider
}

/// The outcome recorded since the strike.
fn heard(provider: &Provider) -> Verdict {
    let health = provider.health();
    let wait = health.retry_in.unwrap_or_default();
    match (health.cause, health.consecutive_failures) {
        (None, 0) => Verdict::Success,
        (None, 1) => Verdict::Neutral,
        (Some(Cause::Failures), 2) => {
            let reason = health.last_error.expect("a reason");
            Verdict::Failure(reason.as_str().to_owned(), wait)
        }
        (Some(Cause::Throttled), 1) => Verdict::Throttled(wait),
        effect => panic!("{effect:?}"),
    }
}

async fn respond(provider: &Provider, response: Response<Script>) -> HealthBody<Script> {
    let mut response = Some(response);
    let server = service_fn(|()| ready(Ok::<_, BoxError>(response.take().expect("one call"))));
    let client = HealthLayer::grpc(provider.clone()).layer(server);
    client.oneshot(()).await.expect("a response").into_body()
}
