use std::fmt;

use crate::{breaker::Permit, outcome::Outcome, util::errors::BoxError};

/// Decides the [`Outcome`] of a finished call.
///
/// A classifier takes the result *and the permit*. It may record the outcome at once, or move the permit into the response and
/// record it later, for example when a streamed body ends.
///
/// To use a closure as a classifier, see [`HealthLayer::classify_with`](crate::HealthLayer::classify_with).
///
/// The classifiers of feature `http` accept `http::Response`. With feature `reqwest`,
/// [`StatusClassifier`](crate::http::StatusClassifier) also accepts `reqwest::Response`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a call that returns `Result<{Res}, {E}>`",
    label = "this classifier cannot judge `Result<{Res}, {E}>`",
    note = "the classifiers of `tower_health::http` judge `http::Response<B>` where `B: http_body::Body` and the errors of call and body are `Display + 'static`",
    note = "with feature `reqwest`, `StatusClassifier` also judges `reqwest::Response`",
    note = "for responses of another type, use `HealthLayer::classify_with` with a closure `|result: Result<&Res, &E>| -> Outcome`"
)]
pub trait Classify<Res, E> {
    /// The response that the caller receives.
    type Response;

    /// Records the outcome on `permit`, or moves the permit into the response.
    ///
    /// # Errors
    ///
    /// The error of `result`, passed to the caller.
    fn classify(&self, result: Result<Res, E>, permit: Permit) -> Result<Self::Response, E>;

    /// Like [`classify`](Self::classify), but returns the error boxed. The layers call this method.
    ///
    /// The default calls `classify`, then boxes the error. The crate's own classifiers box it first, because only a boxed error
    /// exposes the sources from which its [kind](crate::error::Kind) is read. A classifier that delegates to one of them should
    /// call its `classify_boxed`, as in the example of [`HealthBody`](crate::http::HealthBody).
    ///
    /// # Errors
    ///
    /// The error of `result`, passed to the caller.
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

    /// Maps a refusal by the layer to the error that the caller receives.
    ///
    /// Default: returns the [`CircuitOpen`](crate::error::CircuitOpen) unchanged. An error that wraps it must keep it among its
    /// sources, where [`find`](crate::error::find) looks for it.
    fn refused(&self, refusal: BoxError) -> BoxError {
        refusal
    }
}

/// The default classifier: every `Ok` is a success, and every error a failure unless its kind is
/// [neutral](crate::error::Kind::is_neutral).
///
/// For example, the [`CircuitOpen`](crate::error::CircuitOpen) of an inner layer's breaker is neutral: the provider was not
/// called.
///
/// The layers box an error before they classify it, so its [kind](crate::error::Kind) does not depend on the error type of the
/// inner service.
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

/// A classifier made from a closure; see [`HealthLayer::classify_with`](crate::HealthLayer::classify_with).
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
