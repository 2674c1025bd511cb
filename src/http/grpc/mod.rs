use std::fmt;

use ::http::{HeaderMap, Response};
use http_body::Body;

pub(super) use self::table::Table;
use self::table::{LOST, Verdict, code};
use super::{
    body::HealthBody,
    classify::{StatusClassifier, has_no_content},
    judge::Judge,
};
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

/// Classifies gRPC calls by their `grpc-status`. The default of [`HealthLayer::grpc`](crate::HealthLayer::grpc) and of
/// [`FallbackChain::grpc`](crate::FallbackChain::grpc).
///
/// Reads the status from the [trailers] at the end of the body, or from the headers of a trailers-only response.
///
/// | code | health | chain goes on | because |
/// |---|---|---|---|
/// | 0 `OK` | success | no | |
/// | 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 13 `INTERNAL`, 14 `UNAVAILABLE`, 15 `DATA_LOSS` | failure | yes | the server is at fault |
/// | 8 `RESOURCE_EXHAUSTED` with a retry time | throttled | yes | the server asks for a pause |
/// | 8 `RESOURCE_EXHAUSTED` for a message that is too large | answered | no | the message is at fault: gRPC implementations [use this code][too large] for size limits, and are recognized by their error texts |
/// | other 8 `RESOURCE_EXHAUSTED` | failure | yes | a quota or the server itself is exhausted |
/// | 3 `INVALID_ARGUMENT`, 5 `NOT_FOUND`, 6 `ALREADY_EXISTS`, 7 `PERMISSION_DENIED`, 9 `FAILED_PRECONDITION`, 11 `OUT_OF_RANGE`, 12 `UNIMPLEMENTED`, 16 `UNAUTHENTICATED` | answered | no | the call is at fault |
/// | 10 `ABORTED` | answered | no | the server is up: it detected a conflict between two calls |
/// | 1 `CANCELLED` | neutral | no | the caller cancelled the call |
/// | any other | failure | yes | treated as `UNKNOWN` |
/// | none, with an HTTP error status, or no response | as by [`StatusClassifier`] | as by `StatusClassifier` | a gateway answered, or nothing did |
/// | none, without an HTTP error status | failure | yes | a server [must send a status][trailers], so it was lost on the way |
///
/// A [`FallbackChain`](crate::FallbackChain) goes on only by the status of a response without a body. A response with
/// a body has been returned to the caller before its trailers arrive; they count for health alone.
///
/// gRPC defines the meaning of the [codes], and that a `grpc-status` takes precedence over the [HTTP status][mapping].
/// The retry time of a failure or throttle is the longer of `grpc-retry-pushback-ms` ([gRFC A6]) and the
/// [`google.rpc.RetryInfo`] in the status details. An invalid or negative value is ignored.
///
/// A tonic client reports errors that it does not know as `UNKNOWN`. With feature `tonic`, refusals and the errors of
/// exhausted chains become `UNAVAILABLE`, with the time until a call is admitted in the metadata, as
/// `grpc-retry-pushback-ms`. [`find`](crate::error::find) finds the original error in the status.
///
/// Supports gRPC over HTTP/2, but not gRPC-Web, which sends its trailers within the body.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{GrpcClassifier, StatusClassifier};
///
/// let defaults = GrpcClassifier::new();
///
/// let customized = GrpcClassifier::new()
///     // The callers of this provider set its deadlines.
///     .answered_on([4])
///     // The next provider may have a method that this one lacks.
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
    /// A classifier with the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the classifier for responses without a `grpc-status`, and the idle timeout of bodies. Default:
    /// [`StatusClassifier::new`].
    pub fn http(self, classifier: StatusClassifier) -> Self {
        Self {
            http: classifier,
            ..self
        }
    }

    /// Treats these codes as successes. Default: 0.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn success_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::success_on", codes, Verdict::Success)
    }

    /// Treats these codes as [answers](Outcome::Answered) about the request: the provider is up. Default: 3, 5 to 7,
    /// 9 to 12, 16; 8 for a message that is too large.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn answered_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::answered_on", codes, Verdict::Answered)
    }

    /// Ignores these codes for the provider's health. Default: 1.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn neutral_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::neutral_on", codes, Verdict::Neutral)
    }

    /// Treats these codes as failures. Default: 2, 4, 13 to 15; 8 unless answered or throttled.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn failure_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::failure_on", codes, Verdict::Failure)
    }

    /// Treats these codes as throttles: the breaker opens until the provider's pause ends. They do not count as
    /// failures. Default: 8 with a retry time.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn throttled_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::throttled_on", codes, Verdict::Throttled)
    }

    /// Treats these codes as fatal: one of them opens the breaker at once, whatever the trip rule. Default: none.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn fatal_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.set_health("GrpcClassifier::fatal_on", codes, Verdict::Fatal)
    }

    /// Lets a chain try the next provider on these codes, whatever their effect on health. Default: the codes that are
    /// failures, fatal or throttled.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn advance_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        Self {
            table: self
                .table
                .set_advance("GrpcClassifier::advance_on", codes, true),
            ..self
        }
    }

    /// Lets a chain return these codes to the caller, whatever their effect on health. Default: the codes that are
    /// successes, answered or neutral.
    ///
    /// # Panics
    ///
    /// If a code is not between 0 and 16.
    #[track_caller]
    pub fn return_on(self, codes: impl IntoIterator<Item = i32>) -> Self {
        Self {
            table: self
                .table
                .set_advance("GrpcClassifier::return_on", codes, false),
            ..self
        }
    }

    /// Classifies each `grpc-status` with a closure, which takes precedence over the table. If it returns `None`, the
    /// table decides. A chain goes on when the closure returns a failure, fatal or throttled outcome. Default: no
    /// closure.
    ///
    /// The closure gets the code, with the values of tonic's `Code`, and the trailers or headers that contain it. An
    /// invalid code is 2 (`UNKNOWN`).
    ///
    /// ```
    /// use tower_health::{Outcome, http::GrpcClassifier};
    ///
    /// // This database returns FAILED_PRECONDITION while it has no leader.
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
    fn set_health(
        self,
        setting: &str,
        codes: impl IntoIterator<Item = i32>,
        verdict: Verdict,
    ) -> Self {
        Self {
            table: self.table.set_health(setting, codes, verdict),
            ..self
        }
    }

    /// Returns whether a successful HTTP response has no `grpc-status`, and no body whose trailers could contain one.
    fn is_lost<B: Body>(&self, response: &Response<B>) -> bool {
        let of_http = || self.http.outcome(response.status(), response.headers());
        let is_over = response.body().is_end_stream() || has_no_content(response.status());
        is_over && of_http() == Outcome::Success
    }

    /// The outcome at the headers, if they decide it.
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
