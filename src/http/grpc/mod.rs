use std::fmt;

use ::http::{HeaderMap, Response};
use http_body::Body;

pub(super) use self::table::Table;
use self::table::{LOST, Verdict, code};
use super::{body::HealthBody, classify::StatusClassifier, judge::Judge};
use crate::{
    breaker::Permit,
    fallback::{Advance, ServedBy},
    layer::Classify,
    outcome::{Outcome, Reason},
    util::errors::BoxError,
};

mod details;
#[cfg_attr(not(feature = "tonic"), path = "no_status.rs")]
mod status;
mod table;

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
/// | 8 `RESOURCE_EXHAUSTED` that names a wait | throttled | yes | the server wants a pause |
/// | 8 `RESOURCE_EXHAUSTED` for a message that is too large | answered | no | this message is at fault: implementations of gRPC [use the code][too large] for their limits on sizes, and are known by their texts |
/// | other 8 `RESOURCE_EXHAUSTED` | failure | yes | a quota, or the server itself, is at its end |
/// | 3 `INVALID_ARGUMENT`, 5 `NOT_FOUND`, 6 `ALREADY_EXISTS`, 7 `PERMISSION_DENIED`, 9 `FAILED_PRECONDITION`, 11 `OUT_OF_RANGE`, 12 `UNIMPLEMENTED`, 16 `UNAUTHENTICATED` | answered | no | the call is at fault |
/// | 10 `ABORTED` | answered | no | two calls got in each other's way, which the server had to be up to see |
/// | 1 `CANCELLED` | neutral | no | the caller left |
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
/// A client of tonic reports an error that it does not know as `UNKNOWN`. With feature `tonic`, refusals and the errors of
/// exhausted chains reach it as `UNAVAILABLE`, with the time until a call is admitted as `grpc-retry-pushback-ms` in the
/// metadata; [`find`](crate::error::find) finds the error in the status.
///
/// For gRPC over HTTP/2: gRPC-Web sends its trailers within the body, where they are not seen.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{GrpcClassifier, StatusClassifier};
///
/// let defaults = GrpcClassifier::new();
///
/// let customized = GrpcClassifier::new()
///     // Its deadlines are its callers' own.
///     .answered_on([4])
///     // A method that is not known here may be known to the next provider.
///     .advance_on([12])
///     .http(
///         StatusClassifier::new()
///             .neutral_on([502])
///             .idle_timeout(Duration::from_secs(60)),
///     );
/// # let _ = (defaults, customized);
/// ```
///
/// [`google.rpc.RetryInfo`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
/// [codes]: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
/// [mapping]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
/// [too large]: https://github.com/grpc/grpc/pull/10612
/// [trailers]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct GrpcClassifier {
    http: StatusClassifier,
    table: Table,
}

impl GrpcClassifier {
    /// The table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the HTTP that carries the calls: responses without a `grpc-status`, and for how long a
    /// body may be idle. Default: [`StatusClassifier::new`].
    pub fn http(self, classifier: StatusClassifier) -> Self {
        Self {
            http: classifier,
            ..self
        }
    }

    /// With these the provider has served the call. Default: 0.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn success_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Success)
    }

    /// These are [answers about the request](Outcome::Answered): the provider is up. Default: 3, 5 to 7, 9 to 12, 16.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn answered_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Answered)
    }

    /// These change nothing in the provider's health. Default: 1.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn neutral_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Neutral)
    }

    /// These are failures. Default: 2, 4, 13 to 15; 8 where it is neither of the other two.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn failure_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Failure)
    }

    /// With these the provider asks for a pause: the breaker opens until it ends, without a strike. Default: 8 where it names a wait.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn throttled_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Throttled)
    }

    /// These are failures of which one is enough: the breaker opens at once, whatever the trip rule. Default: none.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn fatal_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health(codes, Verdict::Fatal)
    }

    /// With these a chain goes on to the next provider, whatever they say of this one's health. Default: with all
    /// that speak against it.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn advance_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        Self {
            table: self.table.set_advance(codes, true),
            ..self
        }
    }

    /// These a chain returns to the caller, whatever they say of the provider's health. Default: all that do not
    /// speak against it.
    ///
    /// # Panics
    ///
    /// If a code is not from 0 to 16.
    #[track_caller]
    pub fn return_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        Self {
            table: self.table.set_advance(codes, false),
            ..self
        }
    }

    /// Asks a closure before the table, wherever a `grpc-status` comes: its answer is the outcome, and a chain goes on where
    /// that speaks against the provider; where it answers `None`, the table holds. Default: none is asked.
    ///
    /// It gets the code, 2 (`UNKNOWN`) for what is none, and the trailers or headers that the code came in. Codes are those of
    /// tonic's `Code`, as an `i32`.
    ///
    /// ```
    /// use tower_health::{Outcome, http::GrpcClassifier};
    ///
    /// // This database says FAILED_PRECONDITION while it has no leader.
    /// let classifier = GrpcClassifier::new().outcome_with(|code, fields| {
    ///     let has_no_leader = code == 9 && fields.get("grpc-message")? == "no leader";
    ///     has_no_leader.then(|| Outcome::failure("no leader"))
    /// });
    /// # let _ = classifier;
    /// ```
    pub fn outcome_with<F>(self, by_code: F) -> Self
    where
        F: Fn(i32, &HeaderMap) -> Option<Outcome> + Send + Sync + 'static,
    {
        Self {
            table: self.table.outcome_with(by_code),
            ..self
        }
    }

    #[track_caller]
    fn set_health(self, codes: impl IntoIterator<Item = i32>, verdict: Verdict) -> Self {
        Self {
            table: self.table.set_health(codes, verdict),
            ..self
        }
    }

    /// Whether a response has neither a `grpc-status` nor a body whose trailers could bring it, nor an HTTP status that says
    /// why.
    fn is_lost<B: Body>(&self, response: &Response<B>) -> bool {
        let of_http = || self.http.outcome(response.status(), response.headers());
        response.body().is_end_stream() && of_http() == Outcome::Success
    }

    /// What a response says before its body is read, where that is all it will say.
    fn at_headers<B: Body>(&self, response: &Response<B>) -> Option<Outcome> {
        let fields = response.headers();
        let by_code = code(fields).map(|code| self.table.outcome(code, fields));
        by_code.or_else(|| self.is_lost(response).then(|| Outcome::failure(LOST)))
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
        if let Some(outcome) = response.and_then(|response| self.at_headers(response)) {
            permit.record(outcome);
            return result.map(|response| response.map(HealthBody::from));
        }
        let judge = Judge::Grpc(self.table.clone());
        self.http.judge(result, permit, |_| judge)
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

    fn refused(&self, refusal: BoxError) -> BoxError {
        status::unavailable(refusal)
    }
}

impl<B: Body> Advance<Response<B>> for GrpcClassifier {
    fn advance(&self, result: Result<&Response<B>, &BoxError>) -> Option<Reason> {
        if let Ok(response) = result {
            let fields = response.headers();
            if let Some(code) = code(fields) {
                return self.table.advance(code, fields);
            }
            if self.is_lost(response) {
                return Some(LOST.into());
            }
        }
        self.http.advance(result)
    }

    fn served(&self, response: &mut Response<B>, served_by: impl FnOnce() -> ServedBy) {
        self.http.served(response, served_by);
    }

    fn exhausted(&self, error: BoxError) -> BoxError {
        status::unavailable(error)
    }
}
