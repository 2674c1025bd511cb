use std::{fmt, time::Duration};

use ::http::{HeaderMap, HeaderValue, Response};
use http_body::Body;

use super::{HealthBody, StatusClassifier, judge::Judge};
use crate::{Advance, BoxError, Classify, Outcome, Permit, Reason, ServedBy};

/// Judges gRPC calls by their `grpc-status`. The default of [`HealthLayer::grpc`](crate::HealthLayer::grpc)
/// and of [`FallbackChain::grpc`](crate::FallbackChain::grpc).
///
/// It is read from the [trailers] at the end of the body, or from the headers of a response that has
/// nothing but those.
///
/// | code | health | chain goes on | because |
/// |---|---|---|---|
/// | 0 `OK` | success | no | |
/// | 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 13 `INTERNAL`, 14 `UNAVAILABLE`, 15 `DATA_LOSS` | failure | yes | the server is at fault |
/// | 8 `RESOURCE_EXHAUSTED` | throttled | yes | the server wants a pause |
/// | 1 `CANCELLED`, 3 `INVALID_ARGUMENT`, 5 `NOT_FOUND`, 6 `ALREADY_EXISTS`, 7 `PERMISSION_DENIED`, 9 `FAILED_PRECONDITION`, 10 `ABORTED`, 11 `OUT_OF_RANGE`, 12 `UNIMPLEMENTED`, 16 `UNAUTHENTICATED` | neutral | no | the call is at fault |
/// | any other | failure | yes | as `UNKNOWN` |
/// | none, and an HTTP status that is an error, or no response at all | by the table of [`StatusClassifier`] | by that too | a gateway has answered, or nobody |
/// | none, and no such status | failure | yes | a server [must send one][trailers]: something on the way lost it |
///
/// A [`FallbackChain`](crate::FallbackChain) goes on by what a response without a body says. One with a
/// body is the caller's by the time its trailers come, and they are judged for health alone.
///
/// What the [codes] mean is laid down by gRPC; so is that a `grpc-status` goes [before any HTTP
/// status][mapping]. With a failure or a throttle, `grpc-retry-pushback-ms` is the time that the
/// provider names ([gRFC A6]); where it is negative or no number, none is.
///
/// For gRPC over HTTP/2: gRPC-Web sends its trailers within the body, where they are not seen.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{GrpcClassifier, StatusClassifier};
///
/// let defaults = GrpcClassifier::new();
///
/// let customized = GrpcClassifier::new().http(
///     StatusClassifier::new()
///         .neutral_on([502])
///         .idle_timeout(Duration::from_secs(60)),
/// );
/// # let _ = (defaults, customized);
/// ```
///
/// [codes]: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
/// [mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
/// [trailers]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct GrpcClassifier {
    http: StatusClassifier,
}

impl GrpcClassifier {
    /// The table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the HTTP that carries the calls: responses without a `grpc-status`, and for how long a
    /// body may be idle. Default: [`StatusClassifier::new`].
    pub fn http(self, classifier: StatusClassifier) -> Self {
        Self { http: classifier }
    }

    /// What a response says before its body is read, where that is all it will say.
    fn at_headers<B: Body>(&self, response: &Response<B>) -> Option<Outcome> {
        let of_http = || self.http.outcome(response.status(), response.headers());
        let is_lost = || response.body().is_end_stream() && of_http() == Outcome::Success;
        outcome(response.headers()).or_else(|| is_lost().then(|| at_end(None)))
    }
}

impl<B: Body, E: fmt::Display + 'static> Classify<Response<B>, E> for GrpcClassifier {
    type Response = Response<HealthBody<B>>;

    fn classify(
        &self,
        result: Result<Response<B>, E>,
        permit: Permit,
    ) -> Result<Self::Response, E> {
        let response = result.as_ref().ok();
        match response.and_then(|response| self.at_headers(response)) {
            Some(outcome) => {
                permit.record(outcome);
                result.map(|response| response.map(HealthBody::from))
            }
            None => self.http.judge(result, permit, |_| Judge::AtEnd(at_end)),
        }
    }

    fn classify_boxed(
        &self,
        result: Result<Response<B>, E>,
        permit: Permit,
    ) -> Result<Self::Response, BoxError>
    where
        E: Into<BoxError>,
    {
        self.classify(result.map_err(Into::into), permit)
    }
}

impl<B: Body> Advance<Response<B>> for GrpcClassifier {
    fn advance(&self, result: Result<&Response<B>, &BoxError>) -> Option<Reason> {
        let response = result.ok();
        match response.and_then(|response| self.at_headers(response)) {
            Some(outcome) => held_against(outcome),
            None => self.http.advance(result),
        }
    }

    fn served(&self, response: &mut Response<B>, served_by: impl FnOnce() -> ServedBy) {
        self.http.served(response, served_by);
    }
}

fn at_end(trailers: Option<&HeaderMap>) -> Outcome {
    trailers
        .and_then(outcome)
        .unwrap_or_else(|| Outcome::failure("no grpc-status"))
}

/// What the `grpc-status` in headers or trailers says, if there is one.
fn outcome(fields: &HeaderMap) -> Option<Outcome> {
    let status = fields.get("grpc-status")?;
    let failure = |name: &'static str| Outcome::Failure {
        reason: name.into(),
        retry_after: pushback(fields),
    };
    Some(match number(status) {
        Some(0) => Outcome::Success,
        Some(1 | 3 | 5..=7 | 9..=12 | 16) => Outcome::Neutral,
        Some(4) => failure("DEADLINE_EXCEEDED"),
        Some(8) => Outcome::throttled(pushback(fields), "RESOURCE_EXHAUSTED"),
        Some(13) => failure("INTERNAL"),
        Some(14) => failure("UNAVAILABLE"),
        Some(15) => failure("DATA_LOSS"),
        _ => failure("UNKNOWN"),
    })
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

fn pushback(fields: &HeaderMap) -> Option<Duration> {
    let millis = number(fields.get("grpc-retry-pushback-ms")?)?;
    Some(Duration::from_millis(u64::from(millis)))
}

/// Digits alone: `FromStr` would take a sign.
fn number(value: &HeaderValue) -> Option<u32> {
    let text = value.to_str().ok()?;
    let is_signed = text.starts_with(['+', '-']);
    text.parse().ok().filter(|_| !is_signed)
}
