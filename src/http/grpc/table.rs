use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderValue};

use super::details::retry_delay;
use crate::outcome::{Outcome, Reason};

/// The names of the codes, from 0.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    UNKNOWN,
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const UNKNOWN: &str = "UNKNOWN";
/// Why a call without a code has failed.
pub(super) const LOST: &str = "no grpc-status";
/// What any code that is none of gRPC's counts as.
const UNKNOWN_CODE: i32 = 2;

/// What implementations say of a message that is too large, in lower case:
/// [grpc-go, gRPC Core and grpc-js](https://github.com/grpc/grpc/pull/10612) `larger than max`,
/// [grpc-java](https://github.com/grpc/grpc-java/blob/master/core/src/main/java/io/grpc/internal/MessageDeframer.java)
/// `exceeds maximum size` and `message too large`, grpc-dotnet `exceeds the maximum configured message size`,
/// connect-go `larger than configured max`, tonic `message length too large` and `more than 4gb of data`.
const TOO_LARGE: [&str; 7] = [
    "larger than max",
    "larger than configured max",
    "grpc message exceeds maximum size",
    "exceeds the maximum configured message size",
    "message too large",
    "message length too large",
    "more than 4gb of data",
];

/// What codes say, where it differs from the default.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Table {
    /// Behind a count, and absent by default: a classifier is cloned into each call.
    changed: Option<Arc<Columns>>,
}

#[derive(Clone, Debug, Default)]
struct Columns {
    health: BTreeMap<i32, Verdict>,
    advance: BTreeMap<i32, bool>,
    by_code: Option<ByCode>,
}

/// A closure that is asked before the table.
#[derive(Clone)]
struct ByCode(Arc<Judgement>);

type Judgement = dyn Fn(i32, &HeaderMap) -> Option<Outcome> + Send + Sync;

/// What a code says of the provider's health: an [`Outcome`] without its particulars.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Success,
    Answered,
    Neutral,
    Throttled,
    Failure,
    Fatal,
    /// Answered where a message was too large, throttled where the provider names a wait, otherwise a failure.
    Exhausted,
}

impl Table {
    #[track_caller]
    pub(super) fn set_health(mut self, codes: impl IntoIterator<Item = i32>, to: Verdict) -> Self {
        for code in codes {
            self.columns().health.insert(checked(code), to);
        }
        self
    }

    #[track_caller]
    pub(super) fn set_advance(mut self, codes: impl IntoIterator<Item = i32>, to: bool) -> Self {
        for code in codes {
            self.columns().advance.insert(checked(code), to);
        }
        self
    }

    pub(super) fn outcome_with<F>(mut self, by_code: F) -> Self
    where
        F: Fn(i32, &HeaderMap) -> Option<Outcome> + Send + Sync + 'static,
    {
        self.columns().by_code = Some(ByCode(Arc::new(by_code)));
        self
    }

    fn columns(&mut self) -> &mut Columns {
        Arc::make_mut(self.changed.get_or_insert_default())
    }

    /// What a code, in these headers or trailers, says of the provider's health.
    pub(super) fn outcome(&self, code: i32, fields: &HeaderMap) -> Outcome {
        self.by_code(code, fields)
            .unwrap_or_else(|| self.by_table(code, fields))
    }

    /// Why a chain goes on, where a code in these headers makes it.
    pub(super) fn advance(&self, code: i32, fields: &HeaderMap) -> Option<Reason> {
        if let Some(outcome) = self.by_code(code, fields) {
            return held_against(outcome);
        }
        let set = self.changed.as_ref().and_then(|it| it.advance.get(&code));
        match set {
            Some(true) => Some(name(code).into()),
            Some(false) => None,
            None => held_against(self.by_table(code, fields)),
        }
    }

    /// The end of a body, with its trailers.
    pub(in crate::http) fn at_end(&self, trailers: Option<&HeaderMap>) -> Outcome {
        trailers
            .and_then(|fields| Some(self.outcome(code(fields)?, fields)))
            .unwrap_or_else(|| Outcome::failure(LOST))
    }

    fn by_code(&self, code: i32, fields: &HeaderMap) -> Option<Outcome> {
        let ByCode(closure) = self.changed.as_ref()?.by_code.as_ref()?;
        closure(code, fields)
    }

    fn by_table(&self, code: i32, fields: &HeaderMap) -> Outcome {
        let set = self.changed.as_ref().and_then(|it| it.health.get(&code));
        let verdict = set.copied().unwrap_or_else(|| Verdict::of(code));
        let throttled = |wait| Outcome::throttled(wait, name(code));
        match verdict {
            Verdict::Success => Outcome::Success,
            Verdict::Answered => Outcome::Answered,
            Verdict::Neutral => Outcome::Neutral,
            Verdict::Throttled => throttled(named(fields)),
            Verdict::Failure => Outcome::Failure {
                reason: name(code).into(),
                retry_after: named(fields),
            },
            Verdict::Fatal => Outcome::fatal(name(code)),
            Verdict::Exhausted if is_too_large(fields) => Outcome::Answered,
            Verdict::Exhausted => match named(fields) {
                Some(wait) => throttled(Some(wait)),
                None => Outcome::failure(name(code)),
            },
        }
    }
}

impl Verdict {
    /// The table's default.
    fn of(code: i32) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::Neutral,
            3 | 5..=7 | 9..=12 | 16 => Self::Answered,
            8 => Self::Exhausted,
            _ => Self::Failure,
        }
    }
}

#[track_caller]
fn checked(code: i32) -> i32 {
    assert!(
        (0..=16).contains(&code),
        "a gRPC code is a number from 0 to 16, got {code}"
    );
    code
}

fn name(code: i32) -> &'static str {
    let index = usize::try_from(code).ok();
    index
        .and_then(|it| NAMES.get(it))
        .copied()
        .unwrap_or(UNKNOWN)
}

/// The code in headers or trailers, if there is one.
pub(super) fn code(fields: &HeaderMap) -> Option<i32> {
    let code = number(fields.get("grpc-status")?).and_then(|it| i32::try_from(it).ok());
    Some(code.filter(|code| *code <= 16).unwrap_or(UNKNOWN_CODE))
}

/// Why it speaks against the provider, if it does.
fn held_against(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Failure { reason, .. }
        | Outcome::Throttled { reason, .. }
        | Outcome::Fatal { reason } => Some(reason),
        Outcome::Success | Outcome::Answered | Outcome::Neutral => None,
    }
}

/// The longest wait that the provider names.
fn named(fields: &HeaderMap) -> Option<Duration> {
    pushback(fields).max(retry_delay(fields))
}

fn pushback(fields: &HeaderMap) -> Option<Duration> {
    let millis = number(fields.get("grpc-retry-pushback-ms")?)?;
    (millis > 0).then(|| Duration::from_millis(u64::from(millis)))
}

/// Whether what is exhausted is the size of a message: it would be too large later too.
fn is_too_large(fields: &HeaderMap) -> bool {
    let Some(message) = fields.get("grpc-message") else {
        return false;
    };
    let text = percent_decoded(message.as_bytes()).to_ascii_lowercase();
    let text = String::from_utf8_lossy(&text);
    TOO_LARGE.iter().any(|wording| text.contains(wording))
}

/// Decodes a [`grpc-message`](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses); what is badly
/// encoded stays as it is.
fn percent_decoded(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let byte = encoded_byte(text);
        decoded.push(byte.unwrap_or(first));
        text = if byte.is_some() { &rest[2..] } else { rest };
    }
    decoded
}

fn encoded_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Digits alone: `FromStr` would take a sign.
fn number(value: &HeaderValue) -> Option<u32> {
    let text = value.to_str().ok()?;
    let is_signed = text.starts_with(['+', '-']);
    text.parse().ok().filter(|_| !is_signed)
}

impl fmt::Debug for ByCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByCode").finish_non_exhaustive()
    }
}
