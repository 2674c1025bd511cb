use std::{error::Error, time::Duration};

use ::http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use super::{json, peek::PeekError, replay::ReplayError};
use crate::{
    fallback::{Attempt, NoHealthyProvider},
    outcome::{Kind, Reason},
    util::errors::find,
    view::{Cause, CircuitOpen},
};

/// Returns the response of a server for a call that failed with `error`: a status, a retry time, and a JSON body.
///
/// | error, or one of its sources | status | `Retry-After` |
/// |---|---|---|
/// | [`NoHealthyProvider`] | 503 | the shortest time until a breaker admits a call, if any is open |
/// | ... with [all providers throttled](NoHealthyProvider::is_throttled) | 429 | the same |
/// | [`CircuitOpen`] | 503, or 429 if the provider is throttled | its `retry_in` |
/// | [`ReplayError::TooLarge`] | 413 | |
/// | [`PeekError::Throttled`] | 429 | its `retry_after` |
/// | of kind [`Request`](Kind::Request) | 400 | |
/// | of kind [`Overloaded`](Kind::Overloaded) | 503 | |
/// | of kind [`Timeout`](Kind::Timeout) | 504 | |
/// | any other | 502 | |
///
/// `Retry-After` is in seconds, rounded up. The body contains the [label](Reason::label) of the error, and each
/// provider that was skipped or tried with the label of its reason. It contains no texts of providers or errors, which
/// may be confidential; for those, see [`unavailable_response_with_details`].
///
/// ```
/// use tower_health::{HealthCache, http::unavailable_response};
///
/// let groq = HealthCache::default().provider("groq");
/// groq.mark_unhealthy("timeout");
/// groq.mark_unhealthy("timeout");
/// let refusal = groq.admit().unwrap_err();
///
/// let response = unavailable_response(&refusal);
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "60");
/// assert_eq!(
///     response.body(),
///     r#"{"error":"circuit open","attempts":[{"provider":"groq","reason":"circuit open"}]}"#
/// );
/// ```
///
/// With axum: `HandleErrorLayer::new(async |error: BoxError| unavailable_response(&*error))` around the stack.
#[must_use]
pub fn unavailable_response(error: &(dyn Error + 'static)) -> Response<String> {
    Answer::to(error).response(None)
}

/// Like [`unavailable_response`], but with the texts of the error and of the reason of each attempt. Use it only for
/// callers who may see the providers' messages.
///
/// ```
/// use tower_health::{BoxError, http::unavailable_response_with_details};
///
/// let error = BoxError::from("invalid certificate of 10.0.0.7");
/// assert_eq!(
///     unavailable_response_with_details(&*error).body(),
///     r#"{"error":"error","attempts":[],"details":"invalid certificate of 10.0.0.7"}"#
/// );
/// ```
#[must_use]
pub fn unavailable_response_with_details(error: &(dyn Error + 'static)) -> Response<String> {
    Answer::to(error).response(Some(Reason::error(error)))
}

/// Returns the response of a gRPC server for a call that failed with `error`: [`unavailable_response`] for gRPC,
/// without a body.
///
/// | error, or one of its sources | `grpc-status` |
/// |---|---|
/// | of kind [`Request`](Kind::Request) | 3 `INVALID_ARGUMENT` |
/// | of kind [`Timeout`](Kind::Timeout) | 4 `DEADLINE_EXCEEDED` |
/// | any other | 14 `UNAVAILABLE` |
///
/// The HTTP status is 200. `grpc-retry-pushback-ms` is the value of `Retry-After` in milliseconds, rounded up
/// ([gRFC A6]). `grpc-message` is only the [label](Reason::label) of the error, which is safe to show to anybody.
///
/// ```
/// use http_body_util::Empty;
/// use tower_health::{HealthCache, http::grpc_unavailable_response};
///
/// let search = HealthCache::default().provider("search");
/// search.mark_unhealthy("timeout");
/// search.mark_unhealthy("timeout");
/// let refusal = search.admit().unwrap_err();
///
/// let response = grpc_unavailable_response::<Empty<bytes::Bytes>>(&refusal);
/// assert_eq!(response.headers()["grpc-status"], "14");
/// assert_eq!(response.headers()["grpc-message"], "circuit open");
/// assert!(response.headers().contains_key("grpc-retry-pushback-ms"));
/// ```
///
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
#[must_use]
pub fn grpc_unavailable_response<B: Default>(error: &(dyn Error + 'static)) -> Response<B> {
    Answer::to(error).grpc_response()
}

/// The retry time for a call that failed with `error`, in milliseconds, if known.
#[cfg(feature = "tonic")]
pub(super) fn pushback(error: &(dyn Error + 'static)) -> Option<i32> {
    Answer::to(error).retry_in.map(whole_millis)
}

/// The status of [`unavailable_response`], and the retry time if known.
#[cfg(feature = "llm")]
pub(super) fn status_and_wait(error: &(dyn Error + 'static)) -> (StatusCode, Option<Duration>) {
    let answer = Answer::to(error);
    (answer.status, answer.retry_in)
}

struct Answer<'a> {
    status: StatusCode,
    retry_in: Option<Duration>,
    /// Only its label is public.
    error: Reason,
    attempts: Vec<Line<'a>>,
}

/// The public part of an attempt.
struct Line<'a> {
    provider: &'a str,
    reason: &'a str,
    details: &'a str,
}

impl<'a> Answer<'a> {
    fn to(error: &'a (dyn Error + 'static)) -> Self {
        let to_chain = find(error).map(Self::to_chain);
        let to_refusal = || find(error).map(Self::to_refusal);
        to_chain
            .or_else(to_refusal)
            .unwrap_or_else(|| Self::to_failure(error))
    }

    fn to_chain(exhausted: &'a NoHealthyProvider) -> Self {
        let NoHealthyProvider {
            attempts, retry_in, ..
        } = exhausted;
        let waits = attempts.iter().filter_map(|attempt| attempt.retry_in);
        Self {
            status: unavailable(exhausted.is_throttled()),
            retry_in: waits.chain(*retry_in).min(),
            error: Kind::NoHealthyProvider.as_str().into(),
            attempts: attempts.iter().map(Line::from).collect(),
        }
    }

    fn to_refusal(refusal: &'a CircuitOpen) -> Self {
        let kind = if refusal.is_released() {
            Kind::Released
        } else {
            Kind::CircuitOpen
        };
        let reason = kind.as_str();
        let line = Line {
            provider: refusal.provider(),
            reason,
            details: refusal.last_error().map_or(reason, Reason::as_str),
        };
        Self {
            status: unavailable(refusal.cause() == Some(Cause::Throttled)),
            retry_in: Some(refusal.retry_in()),
            error: reason.into(),
            attempts: vec![line],
        }
    }

    fn to_failure(error: &(dyn Error + 'static)) -> Self {
        let is_too_large = matches!(find(error), Some(ReplayError::TooLarge { .. }));
        let throttle = match find(error) {
            Some(PeekError::Throttled { retry_after, .. }) => Some(*retry_after),
            _ => None,
        };
        let status = match Kind::of(error) {
            _ if throttle.is_some() => StatusCode::TOO_MANY_REQUESTS,
            Some(Kind::Request) if is_too_large => StatusCode::PAYLOAD_TOO_LARGE,
            Some(Kind::Request) => StatusCode::BAD_REQUEST,
            Some(Kind::Overloaded) => StatusCode::SERVICE_UNAVAILABLE,
            Some(Kind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self {
            status,
            retry_in: throttle.flatten(),
            error: Reason::error(error),
            attempts: Vec::new(),
        }
    }

    fn response(&self, details: Option<Reason>) -> Response<String> {
        let mut response = Response::new(self.json(details));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_in {
            headers.insert(RETRY_AFTER, whole_seconds(wait).into());
        }
        response
    }

    fn grpc_response<B: Default>(&self) -> Response<B> {
        let code = match self.status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => 3,
            StatusCode::GATEWAY_TIMEOUT => 4,
            _ => 14,
        };
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(code));
        // A custom label may contain characters that a header cannot.
        if let Ok(message) = HeaderValue::from_str(self.error.label()) {
            headers.insert("grpc-message", message);
        }
        if let Some(wait) = self.retry_in {
            headers.insert("grpc-retry-pushback-ms", whole_millis(wait).into());
        }
        response
    }

    fn json(&self, details: Option<Reason>) -> String {
        let is_detailed = details.is_some();
        let attempts = self.attempts.iter().map(|line| line.json(is_detailed));
        let details = details.map(|text| ("details", json::string(&text)));
        let members = [
            ("error", json::string(self.error.label())),
            ("attempts", json::list(attempts)),
        ];
        json::object(members.into_iter().chain(details))
    }
}

impl Line<'_> {
    fn json(&self, is_detailed: bool) -> String {
        let details = is_detailed.then(|| ("details", json::string(self.details)));
        let members = [
            ("provider", json::string(self.provider)),
            ("reason", json::string(self.reason)),
        ];
        json::object(members.into_iter().chain(details))
    }
}

impl<'a> From<&'a Attempt> for Line<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            provider: &attempt.provider,
            reason: attempt.reason.label(),
            details: &attempt.reason,
        }
    }
}

fn unavailable(is_throttled: bool) -> StatusCode {
    if is_throttled {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// Rounded up: an early retry would be refused again.
fn whole_seconds(wait: Duration) -> u64 {
    let begun = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(begun)
}

/// Rounded up too. gRPC uses 32-bit milliseconds.
fn whole_millis(wait: Duration) -> i32 {
    let begun = u128::from(wait.subsec_nanos() % 1_000_000 > 0);
    i32::try_from(wait.as_millis() + begun).unwrap_or(i32::MAX)
}
