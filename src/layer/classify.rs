use std::fmt;

use crate::{breaker::Permit, outcome::Outcome, util::errors::BoxError};

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
    /// only a boxed error has sources to read its [kind](crate::error::Kind) from. A classifier that leaves errors to one of them calls
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
/// [neutral](crate::error::Kind::is_neutral) kind are neutral, such as the [`CircuitOpen`](crate::error::CircuitOpen) of a
/// breaker beneath: the provider was not called.
///
/// The layers box an error before it is judged, so that its [kind](crate::error::Kind) does not depend on the type that the inner
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
