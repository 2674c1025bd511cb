use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderValue};

use super::details::retry_delay;
use crate::outcome::{Outcome, Reason};

/// The names of the codes, by number.
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
/// The reason of a failure without a code.
pub(super) const LOST: &str = "no grpc-status";
/// The code that invalid codes count as.
const UNKNOWN_CODE: i32 = 2;

/// Parts of the error texts for messages that are too large, in lower case:
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

/// The outcomes of codes, and whether a chain goes on.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Table {
    /// Shared, and `None` by default: a classifier is cloned for each call.
    changed: Option<Arc<Columns>>,
}

#[derive(Clone, Debug, Default)]
struct Columns {
    health: BTreeMap<i32, Verdict>,
    advance: BTreeMap<i32, bool>,
    by_code: Option<ByCode>,
}

/// A closure that takes precedence over the table.
#[derive(Clone)]
struct ByCode(Arc<Judgement>);

type Judgement = dyn Fn(i32, &HeaderMap) -> Option<Outcome> + Send + Sync;

/// The effect of a code on health: an [`Outcome`] without its details.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Success,
    Answered,
    Neutral,
    Throttled,
    Failure,
    Fatal,
    /// Answered if the message is too large, throttled if there is a retry time, otherwise a failure.
    Exhausted,
}

impl Table {
    #[track_caller]
    pub(super) fn set_health(
        mut self,
        setting: &str,
        codes: impl IntoIterator<Item = i32>,
        to: Verdict,
    ) -> Self {
        for code in codes {
            self.columns().health.insert(checked(setting, code), to);
        }
        self
    }

    #[track_caller]
    pub(super) fn set_advance(
        mut self,
        setting: &str,
        codes: impl IntoIterator<Item = i32>,
        to: bool,
    ) -> Self {
        for code in codes {
            self.columns().advance.insert(checked(setting, code), to);
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

    /// The outcome of a code in these headers or trailers.
    pub(super) fn outcome(&self, code: i32, fields: &HeaderMap) -> Outcome {
        self.by_code(code, fields)
            .unwrap_or_else(|| self.by_table(code, fields))
    }

    /// Why a chain goes on after a code in these headers, if it does.
    pub(super) fn advance(&self, code: i32, fields: &HeaderMap) -> Option<Reason> {
        if let Some(outcome) = self.by_code(code, fields) {
            return reason_to_advance(outcome);
        }
        let set = self.changed.as_ref().and_then(|it| it.advance.get(&code));
        match set {
            Some(true) => Some(name(code).into()),
            Some(false) => None,
            None => reason_to_advance(self.by_table(code, fields)),
        }
    }

    /// The outcome of a body that ended with these trailers.
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
            Verdict::Throttled => throttled(retry_time(fields)),
            Verdict::Failure => Outcome::Failure {
                reason: name(code).into(),
                retry_after: retry_time(fields),
            },
            Verdict::Fatal => Outcome::fatal(name(code)),
            Verdict::Exhausted if is_too_large(fields) => Outcome::Answered,
            Verdict::Exhausted => match retry_time(fields) {
                Some(wait) => throttled(Some(wait)),
                None => Outcome::failure(name(code)),
            },
        }
    }
}

impl Verdict {
    /// The default of the table.
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
fn checked(setting: &str, code: i32) -> i32 {
    assert!(
        (0..=16).contains(&code),
        "`{setting}`: gRPC code must be between 0 and 16, got {code}"
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

/// The code in these headers or trailers, if there is one.
pub(super) fn code(fields: &HeaderMap) -> Option<i32> {
    let code = number(fields.get("grpc-status")?).and_then(|it| i32::try_from(it).ok());
    Some(code.filter(|code| *code <= 16).unwrap_or(UNKNOWN_CODE))
}

/// The reason of an outcome that makes a chain go on.
fn reason_to_advance(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Failure { reason, .. }
        | Outcome::Throttled { reason, .. }
        | Outcome::Fatal { reason } => Some(reason),
        Outcome::Success | Outcome::Answered | Outcome::Neutral => None,
    }
}

/// The longest retry time in these headers or trailers.
fn retry_time(fields: &HeaderMap) -> Option<Duration> {
    pushback(fields).max(retry_delay(fields))
}

fn pushback(fields: &HeaderMap) -> Option<Duration> {
    let millis = number(fields.get("grpc-retry-pushback-ms")?)?;
    (millis > 0).then(|| Duration::from_millis(u64::from(millis)))
}

/// Returns whether a message is too large. A later retry of it would fail too.
fn is_too_large(fields: &HeaderMap) -> bool {
    let Some(message) = fields.get("grpc-message") else {
        return false;
    };
    let text = percent_decoded(message.as_bytes()).to_ascii_lowercase();
    let text = String::from_utf8_lossy(&text);
    TOO_LARGE.iter().any(|wording| text.contains(wording))
}

/// Decodes a [`grpc-message`](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses). Invalid
/// escapes are left as they are.
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

/// Parses digits only: `FromStr` would accept a sign.
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
