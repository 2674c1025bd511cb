use std::time::Duration;

use ::http::{HeaderMap, Response, StatusCode};

use crate::outcome::Outcome;

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

/// The verdict on an error by its body, from the closure of a [`ReadErrorsLayer`](super::ReadErrorsLayer). The status
/// decides whatever it leaves out.
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
    /// A verdict that leaves everything to the status.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outcome for the provider's health. Default: that of the status, by the
    /// [table](super::super::StatusClassifier).
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self {
            outcome: Some(outcome),
            ..self
        }
    }

    /// The wait that the provider asks for; it counts with a throttle or a failure, and makes a 403 a throttle. The longest
    /// of this, of the outcome's own wait and of the one in the headers counts. Default: none. Zero is none.
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

    /// Puts the verdict into the response, for the classifiers around.
    pub(super) fn leave_in<B>(self, response: &mut Response<B>) {
        response.extensions_mut().insert(Left(self));
    }

    /// The verdict in this response, if the layer has put one there.
    pub(in crate::http) fn of<B>(response: &Response<B>) -> Option<&Self> {
        let left = is_error(response.status()).then(|| response.extensions().get())?;
        left.map(|Left(verdict)| verdict)
    }
}

pub(super) fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Private, so that no other layer can put one there.
#[derive(Clone)]
struct Left(ErrorVerdict);
