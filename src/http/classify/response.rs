//! Recording the outcome of a response, at its headers or at the end of its body.

use std::fmt;

use ::http::{Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;

use super::StatusClassifier;
use crate::{
    breaker::Permit,
    fallback::{Advance, ServedBy},
    http::{body::HealthBody, judge::Judge, sse},
    layer::Classify,
    outcome::{Outcome, Reason},
    util::errors::BoxError,
};

impl StatusClassifier {
    /// Records the outcome at the headers, unless it is a success, which is recorded at the end of the body.
    pub(in crate::http) fn judge<B: Body, E: fmt::Display + 'static>(
        &self,
        result: Result<Response<B>, E>,
        permit: Permit,
        judge_of: impl FnOnce(&Response<B>) -> Judge,
    ) -> Result<Response<HealthBody<B>>, E> {
        let at_headers = match &result {
            Ok(response) => self.outcome_of(response),
            Err(error) => Outcome::of_error(error),
        };
        match at_headers {
            Outcome::Success => result.map(|response| {
                let judge = judge_of(&response);
                self.watch(response, permit, judge)
            }),
            outcome => {
                permit.record(outcome);
                result.map(|response| response.map(HealthBody::from))
            }
        }
    }

    /// Leaves the outcome to the end of the body, if there is a body.
    #[inline]
    fn watch<B: Body>(
        &self,
        response: Response<B>,
        permit: Permit,
        mut judge: Judge,
    ) -> Response<HealthBody<B>> {
        if response.body().is_end_stream() || has_no_content(response.status()) {
            judge.conclude(permit, None);
            return response.map(HealthBody::from);
        }
        let has_events = permit.must_record_answer() && sse::is_readable(response.headers());
        let idle_timeout = self.idle_timeout;
        response.map(|body| HealthBody::watched(body, permit, judge, idle_timeout, has_events))
    }

    /// The first judge that applies to this response.
    fn judge_of<B: Body>(&self, response: &Response<B>) -> Option<Judge> {
        let judges = &self.changed.as_ref()?.judges;
        let mut judges = judges.iter().filter(|_| may_have_content(response));
        judges.find_map(|it| it.judge(response.status(), response.headers()))
    }
}

impl<B: Body, E: fmt::Display + 'static> Classify<Response<B>, E> for StatusClassifier {
    type Response = Response<HealthBody<B>>;

    fn classify(
        &self,
        result: Result<Response<B>, E>,
        permit: Permit,
    ) -> Result<Self::Response, E> {
        self.judge(result, permit, |response| {
            self.judge_of(response).unwrap_or_default()
        })
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

impl<B> Advance<Response<B>> for StatusClassifier {
    fn advance(&self, result: Result<&Response<B>, &BoxError>) -> Option<Reason> {
        match result {
            Ok(response) => {
                self.reason_to_advance(response.status(), response.headers(), response.extensions())
            }
            Err(error) => Some(Reason::error(&**error)),
        }
    }

    fn served(&self, response: &mut Response<B>, served_by: impl FnOnce() -> ServedBy) {
        response.extensions_mut().insert(served_by());
    }
}

/// Returns whether there is a body to judge. The request is not known here, so a response to `HEAD` is recognized by a body
/// that is empty although its headers do not say so.
fn may_have_content<B: Body>(response: &Response<B>) -> bool {
    let is_announced_empty = || {
        let length = response.headers().get(CONTENT_LENGTH);
        length.is_some_and(|length| length == "0")
    };
    let is_over = response.body().is_end_stream();
    !has_no_content(response.status()) && (!is_over || is_announced_empty())
}

/// Returns whether a response with this status has no body, whatever its headers announce ([RFC 9110 §6.4.1]).
///
/// [RFC 9110 §6.4.1]: https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1
pub(in crate::http) fn has_no_content(status: StatusCode) -> bool {
    status.is_informational()
        || [
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::NOT_MODIFIED,
        ]
        .contains(&status)
}
