use std::fmt;

use ::reqwest::{Body, Response};

use crate::{
    breaker::Permit,
    fallback::{Advance, ServedBy},
    http::{classify::StatusClassifier, message::HttpResponse},
    layer::Classify,
    outcome::Reason,
    util::errors::BoxError,
};

/// The response that is returned has a [`HealthBody`](crate::http::HealthBody) inside its body.
impl<E: fmt::Display + 'static> Classify<Response, E> for StatusClassifier {
    type Response = Response;

    fn classify(&self, result: Result<Response, E>, permit: Permit) -> Result<Response, E> {
        let result = self.classify(result.map(Response::into_http), permit);
        result.map(|response| response.map(Body::wrap).into())
    }

    fn classify_boxed(
        &self,
        result: Result<Response, E>,
        permit: Permit,
    ) -> Result<Response, BoxError>
    where
        E: Into<BoxError>,
    {
        self.classify(result.map_err(Into::into), permit)
    }
}

impl Advance<Response> for StatusClassifier {
    fn advance(&self, result: Result<&Response, &BoxError>) -> Option<Reason> {
        match result {
            Ok(response) => {
                self.reason_to_advance(response.status(), response.headers(), response.extensions())
            }
            Err(error) => Some(Reason::error(&**error)),
        }
    }

    fn served(&self, response: &mut Response, served_by: impl FnOnce() -> ServedBy) {
        response.extensions_mut().insert(served_by());
    }
}
