use std::{error::Error, fmt, time::Duration};

#[cfg(feature = "http")]
use crate::http::PeekError;
use crate::{BoxError, Permit, Reason, error::Kind, kind::as_error};

/// What a finished call says about its provider's health.
///
/// Whether a [chain](crate::FallbackChain) should go on to the next provider is another question,
/// which the chain asks of its own [rule](crate::Advance).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider is well: the streak of failures ends, a trial counts towards closing.
    Success,
    /// The provider is ill: counts towards a trip; a trial opens the breaker again.
    Failure {
        /// What went wrong.
        reason: Reason,
        /// Should this open the breaker, then at least for so long: the provider named a time.
        retry_after: Option<Duration>,
    },
    /// The provider is of no use, and waiting would not make it so: a revoked key, an unpaid bill.
    /// A [`Failure`](Self::Failure) that opens the breaker at once, whatever the [rule](crate::Trip).
    Fatal {
        /// What went wrong.
        reason: Reason,
    },
    /// The provider is well but wants a pause: the breaker opens at once, without a strike.
    Throttled {
        /// For how long; [`Throttle`](crate::Throttle) sets its bounds, and the wait where none is named.
        retry_after: Option<Duration>,
        /// What the provider said.
        reason: Reason,
    },
    /// The provider answered, and its answer is about the request: not found, not allowed, not valid. It is up, though
    /// this does not prove that it can serve.
    ///
    /// Counts as a call in a [failure rate](crate::Trip::failure_rate), but not as a failure. Three in a row end a streak of
    /// failures; three in a row of trials count as one success.
    Answered,
    /// No answer: the caller left, or the call never reached the provider. It changes nothing, and frees a trial's slot.
    Neutral,
}

impl Outcome {
    /// A [`Failure`](Self::Failure) without a named time.
    pub fn failure(reason: impl Into<Reason>) -> Self {
        Self::Failure {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// Whether the provider did not serve the call.
    #[cfg(feature = "http")]
    pub(crate) fn speaks_against(&self) -> bool {
        !matches!(self, Self::Success | Self::Answered | Self::Neutral)
    }

    /// The same, with a wait that is no shorter, where it can have one.
    #[cfg(feature = "http")]
    pub(crate) fn waiting_for(mut self, wait: Option<Duration>) -> Self {
        match &mut self {
            Self::Failure { retry_after, .. } | Self::Throttled { retry_after, .. } => {
                *retry_after = wait.max(*retry_after);
            }
            Self::Success | Self::Fatal { .. } | Self::Answered | Self::Neutral => {}
        }
        self
    }

    /// The outcome of an error by default: a failure, except that an error of a [neutral](Kind::is_neutral) kind is neutral,
    /// and that a pause which the provider asked for in its body is a throttle.
    pub(crate) fn of_error<E: fmt::Display + 'static>(error: &E) -> Self {
        let known = as_error(error);
        if known.and_then(Kind::of).is_some_and(Kind::is_neutral) {
            return Self::Neutral;
        }
        known
            .and_then(throttle_within)
            .unwrap_or_else(|| Self::failure(Reason::of(error)))
    }

    /// A [`Fatal`](Self::Fatal).
    pub fn fatal(reason: impl Into<Reason>) -> Self {
        Self::Fatal {
            reason: reason.into(),
        }
    }

    /// A [`Throttled`](Self::Throttled).
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }
}

/// The pause that a provider asked for in a body that was peeked at.
#[cfg(feature = "http")]
fn throttle_within(error: &(dyn Error + 'static)) -> Option<Outcome> {
    PeekError::within(error).and_then(PeekError::throttle)
}

#[cfg(not(feature = "http"))]
fn throttle_within(_error: &(dyn Error + 'static)) -> Option<Outcome> {
    None
}

/// Gives the verdict on a finished call.
///
/// It takes the result *and the permit*: the verdict may be given at once, or later by something
/// that the response carries, such as a body that is still flowing.
///
/// Closures are classifiers through [`HealthLayer::classify_with`](crate::HealthLayer::classify_with).
///
/// The classifiers of feature `http` judge an `http::Response`. Reqwest's response is another type; it becomes one with
/// `MapResponse`:
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_health::{HealthCache, HealthLayer};
///
/// # #[cfg(feature = "http")]
/// # fn with_reqwest() {
/// let client = ServiceBuilder::new()
///     .layer(HealthLayer::http(HealthCache::default().provider("search")))
///     .map_response(http::Response::<reqwest::Body>::from)
///     .service(reqwest::Client::new());
/// # use tower::Service;
/// # fn is_service<S: Service<reqwest::Request>>(_: S) {}
/// # is_service(client);
/// # }
/// ```
///
/// Without it, the compiler says so:
///
/// ```compile_fail,E0277
/// use tower::{Service, ServiceBuilder};
/// use tower_health::{HealthCache, HealthLayer};
///
/// let client = ServiceBuilder::new()
///     .layer(HealthLayer::http(HealthCache::default().provider("search")))
///     .service(reqwest::Client::new());
/// fn is_service<S: Service<reqwest::Request>>(_: S) {}
/// is_service(client);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not judge a call that ends with `Result<{Res}, {E}>`",
    label = "this classifier does not judge `Result<{Res}, {E}>`",
    note = "the classifiers of `tower_health::http` judge `http::Response<B>` where `B: http_body::Body` and the errors of call and body are `Display + 'static`",
    note = "the response of reqwest is not an `http::Response`: put `.map_response(http::Response::<reqwest::Body>::from)` between `HealthLayer` and the client",
    note = "for responses of another type, use `HealthLayer::classify_with` with a closure `|result: Result<&Res, &E>| -> Outcome`"
)]
pub trait Classify<Res, E> {
    /// What the caller receives.
    type Response;

    /// Records the outcome on `permit`, or hands the permit on.
    ///
    /// # Errors
    ///
    /// The error of `result`, for the caller.
    fn classify(&self, result: Result<Res, E>, permit: Permit) -> Result<Self::Response, E>;

    /// [`classify`](Self::classify) for a caller that receives the error in a box. The layers call this one.
    ///
    /// The default boxes the error after `classify`. The crate's own classifiers box it first: an `E` can be any type, and
    /// only a boxed error has sources to read its [kind](Kind) from. A classifier that leaves errors to one of them calls
    /// its `classify_boxed`, as the example of [`HealthBody`](crate::http::HealthBody) does.
    ///
    /// # Errors
    ///
    /// The error of `result`, for the caller.
    #[inline]
    fn classify_boxed(
        &self,
        result: Result<Res, E>,
        permit: Permit,
    ) -> Result<Self::Response, BoxError>
    where
        E: Into<BoxError>,
    {
        self.classify(result, permit).map_err(Into::into)
    }

    /// What the caller of a refused call receives. The layers ask it about their own refusals.
    ///
    /// Default: the [`CircuitOpen`](crate::error::CircuitOpen) itself. A wrapper must have it among its sources, where
    /// [`find`](crate::error::find) looks for it.
    fn refused(&self, refusal: BoxError) -> BoxError {
        refusal
    }
}

/// The default: every `Ok` is a success, every error a failure; except that errors of a
/// [neutral](Kind::is_neutral) kind are neutral, such as the [`CircuitOpen`](crate::error::CircuitOpen) of a
/// breaker beneath: the provider was not called.
///
/// The layers box an error before it is judged, so that its [kind](Kind) does not depend on the type that the inner
/// service gives it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsAsFailures;

impl<Res, E: fmt::Display + 'static> Classify<Res, E> for ErrorsAsFailures {
    type Response = Res;

    #[inline]
    fn classify(&self, result: Result<Res, E>, permit: Permit) -> Result<Res, E> {
        match &result {
            Ok(_) => permit.success(),
            Err(error) => permit.record_with(|| Outcome::of_error(error)),
        }
        result
    }

    #[inline]
    fn classify_boxed(&self, result: Result<Res, E>, permit: Permit) -> Result<Res, BoxError>
    where
        E: Into<BoxError>,
    {
        self.classify(result.map_err(Into::into), permit)
    }
}

/// A closure as a classifier; see [`HealthLayer::classify_with`](crate::HealthLayer::classify_with).
#[derive(Clone, Copy)]
pub struct ClassifyWith<F>(pub(crate) F);

impl<Res, E, F> Classify<Res, E> for ClassifyWith<F>
where
    F: Fn(Result<&Res, &E>) -> Outcome,
{
    type Response = Res;

    fn classify(&self, result: Result<Res, E>, permit: Permit) -> Result<Res, E> {
        permit.record((self.0)(result.as_ref()));
        result
    }
}

impl<F> fmt::Debug for ClassifyWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClassifyWith").finish_non_exhaustive()
    }
}
