use std::{fmt, str::FromStr, time::Duration};

use ::http::{HeaderMap, HeaderValue, Response};
use http_body::Body;

use super::{HealthBody, StatusClassifier};
use crate::{Classify, Outcome, Permit};

/// Judges gRPC calls by their `grpc-status`. The default of [`HealthLayer::grpc`](crate::HealthLayer::grpc).
///
/// It is read from the [trailers] at the end of the body, or from the headers of a response that has
/// nothing but those.
///
/// | code | health | because |
/// |---|---|---|
/// | 0 `OK` | success | |
/// | 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 13 `INTERNAL`, 14 `UNAVAILABLE`, 15 `DATA_LOSS` | failure | the server is at fault |
/// | 8 `RESOURCE_EXHAUSTED` | throttled | the server wants a pause |
/// | 1 `CANCELLED`, 3 `INVALID_ARGUMENT`, 5 `NOT_FOUND`, 6 `ALREADY_EXISTS`, 7 `PERMISSION_DENIED`, 9 `FAILED_PRECONDITION`, 10 `ABORTED`, 11 `OUT_OF_RANGE`, 12 `UNIMPLEMENTED`, 16 `UNAUTHENTICATED` | neutral | the call is at fault |
/// | any other | failure | as `UNKNOWN` |
/// | none, and an HTTP status that is an error | by the table of [`StatusClassifier`] | a gateway has answered |
/// | none, and no such status | failure | a server [must send one][trailers]: something on the way lost it |
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
}

impl<B: Body, E: fmt::Display + 'static> Classify<Response<B>, E> for GrpcClassifier {
    type Response = Response<HealthBody<B>>;

    fn classify(
        &self,
        result: Result<Response<B>, E>,
        permit: Permit,
    ) -> Result<Self::Response, E> {
        let at_headers = result
            .as_ref()
            .ok()
            .and_then(|response| outcome(response.headers()));
        match at_headers {
            Some(outcome) => {
                permit.record(outcome);
                result.map(|response| response.map(HealthBody::from))
            }
            None => self.http.judge(result, permit, at_end),
        }
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

fn pushback(fields: &HeaderMap) -> Option<Duration> {
    let millis = number(fields.get("grpc-retry-pushback-ms")?)?;
    Some(Duration::from_millis(u64::from(millis)))
}

/// Not negative.
fn number(value: &HeaderValue) -> Option<u32> {
    u32::from_str(value.to_str().ok()?).ok()
}
