use std::time::Duration;

use ::http::{HeaderMap, Response, StatusCode};

use crate::Outcome;

/// An error that a provider answered, for the closure of a [`ReadErrorsLayer`](super::ReadErrorsLayer).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ErrorResponse<'a> {
    /// 400 or above.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, or its beginning where it is longer than the layer reads, or was not whole in time. Not empty.
    pub body: &'a str,
}

/// What the body of an error says of its provider; what it leaves out, the status decides.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{Outcome, http::ErrorVerdict};
///
/// // The status decides.
/// let nothing = ErrorVerdict::new();
///
/// // The bill is unpaid: the breaker opens at once, and a chain goes on.
/// let unpaid = ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"));
///
/// // The provider is up, but another may have a model that takes longer prompts.
/// let too_long = ErrorVerdict::new().outcome(Outcome::Answered).advance(true);
///
/// // A pause of the same kind as the status asks for, but with a time.
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
    /// Says nothing: the status decides.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it says of the provider's health. Default: what the [table](super::super::StatusClassifier) says of the status.
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self {
            outcome: Some(outcome),
            ..self
        }
    }

    /// For how long the provider wants to be left alone, if this is a throttle or a failure. Of this, of the outcome's own
    /// time and of the time that the headers name, the longest counts. Default: no time.
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait).filter(|wait| !wait.is_zero()),
            ..self
        }
    }

    /// Whether a [`FallbackChain`](crate::FallbackChain) goes on to the next provider. Default: where the outcome is a
    /// failure or a throttle; where none is given, as the table says.
    pub fn advance(self, advance: bool) -> Self {
        Self {
            advance: Some(advance),
            ..self
        }
    }

    /// Leaves it to those around to be found.
    pub(super) fn leave_in<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Left(self));
    }

    /// The one that was left in this response.
    pub(in crate::http) fn of<B>(response: &Response<B>) -> Option<&Self> {
        let left = is_error(response.status()).then(|| response.extensions().get())?;
        left.map(|Left(verdict)| verdict)
    }
}

pub(super) fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Private, so that nobody else leaves one.
#[derive(Clone)]
struct Left(ErrorVerdict);
