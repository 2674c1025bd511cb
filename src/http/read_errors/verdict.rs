use std::time::Duration;

use ::http::{Extensions, HeaderMap, Response, StatusCode};

use crate::outcome::Outcome;

/// An error response, as passed to the closure of a [`ReadErrorsLayer`](super::ReadErrorsLayer).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ErrorResponse<'a> {
    /// The status: 400 or above.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, never empty. Only its beginning, if it exceeds the layer's limits on bytes or time.
    pub body: &'a str,
}

/// A verdict on an error response, returned by the closure of a [`ReadErrorsLayer`](super::ReadErrorsLayer). The
/// status decides everything that is not set.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{Outcome, http::ErrorVerdict};
///
/// // The status decides.
/// let nothing = ErrorVerdict::new();
///
/// // An unpaid bill: the breaker opens at once, and a chain goes on.
/// let unpaid = ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"));
///
/// // The provider is up, but another one may accept longer prompts.
/// let too_long = ErrorVerdict::new().outcome(Outcome::Answered).advance(true);
///
/// // The outcome of the status, with a retry time.
/// let busy = ErrorVerdict::new().retry_after(Duration::from_secs(34));
/// # let _ = (nothing, unpaid, too_long, busy);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ErrorVerdict {
    pub(in crate::http) outcome: Option<Outcome>,
    pub(in crate::http) retry_after: Option<Duration>,
    pub(in crate::http) advance: Option<bool>,
}

impl ErrorVerdict {
    /// A verdict that leaves everything to the status.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the outcome for the provider's health. Default: the outcome of the status in the
    /// [table](super::super::StatusClassifier).
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self {
            outcome: Some(outcome),
            ..self
        }
    }

    /// Sets the retry time. Applies to a throttle or a failure, and turns a 403 into a throttle. The longest of this
    /// time, the outcome's own, and the one in the headers is used. Zero is ignored. Default: none.
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait).filter(|wait| !wait.is_zero()),
            ..self
        }
    }

    /// Sets whether a [`FallbackChain`](crate::FallbackChain) goes on to the next provider. Default: it goes on if the
    /// outcome is a failure, fatal or throttled; without an outcome, the table decides.
    pub fn advance(self, advance: bool) -> Self {
        Self {
            advance: Some(advance),
            ..self
        }
    }

    /// Returns the verdict that a layer has added to a response's extensions, for classifiers of your own.
    #[must_use]
    pub fn within(extensions: &Extensions) -> Option<&Self> {
        extensions.get().map(|Attached(verdict)| verdict)
    }

    /// Returns the outcome, if one is set.
    #[must_use]
    pub fn get_outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Adds the verdict to the response, for the classifiers around the layer.
    pub(super) fn attach_to<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Attached(self));
    }

    /// The verdict in this response, if the layer added one.
    pub(in crate::http) fn of(status: StatusCode, extensions: &Extensions) -> Option<&Self> {
        is_error(status).then(|| Self::within(extensions))?
    }
}

pub(super) fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Private, so that no other layer can add one.
#[derive(Clone)]
struct Attached(ErrorVerdict);
