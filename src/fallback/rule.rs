use std::{error::Error, fmt};

use super::no_healthy_provider::ServedBy;
use crate::{layer::ErrorsAsFailures, outcome::Reason, util::errors::BoxError};

/// Decides whether a [chain](crate::FallbackChain) goes on to the next provider.
///
/// Whether a result speaks against the provider's health is another question, which the layer asks
/// of its own [classifier](crate::Classify).
///
/// Closures are rules through [`FallbackChain::advance_when`](crate::FallbackChain::advance_when).
///
/// ```
/// use tower_health::{Advance, BoxError, Reason, ServedBy};
///
/// struct Answer {
///     text: String,
///     served_by: Option<ServedBy>,
/// }
///
/// #[derive(Clone)]
/// struct EmptyAdvances;
///
/// impl Advance<Answer> for EmptyAdvances {
///     fn advance(&self, result: Result<&Answer, &BoxError>) -> Option<Reason> {
///         match result {
///             Ok(answer) => answer.text.is_empty().then(|| "empty answer".into()),
///             Err(error) => Some(Reason::display(error)),
///         }
///     }
///
///     fn served(&self, answer: &mut Answer, served_by: impl FnOnce() -> ServedBy) {
///         answer.served_by = Some(served_by());
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decide whether a chain goes on from a response `{Res}`",
    label = "this rule does not take responses of type `{Res}`",
    note = "the rules of `tower_health::http` take `http::Response<B>`",
    note = "the response of reqwest is not an `http::Response`: map each entry's with `.map_response(http::Response::<reqwest::Body>::from)`",
    note = "for responses of another type, use `FallbackChain::new()` with `advance_when` and a closure"
)]
pub trait Advance<Res> {
    /// Why to go on to the next provider; `None` returns the result to the caller.
    fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason>;

    /// Told who has served, before the response is returned. Default: does nothing, so that nothing
    /// is made of it.
    fn served(&self, response: &mut Res, served_by: impl FnOnce() -> ServedBy) {
        let _ = (response, served_by);
    }

    /// What the caller receives where no provider has served. Default: the
    /// [`NoHealthyProvider`](crate::error::NoHealthyProvider) itself. A wrapper must have it among its sources, where
    /// [`find`](crate::error::find) looks for it.
    fn exhausted(&self, error: BoxError) -> BoxError {
        error
    }
}

/// A rule whose chain can [guard](crate::FallbackChain::guard) its providers: it names the classifier that goes with it.
///
/// A rule of your own that is a classifier too names itself; one that only decides where to go on names
/// [`ErrorsAsFailures`], as the crate's own [`ErrorsAdvance`] does.
///
/// ```
/// use tower_health::{Advance, BoxError, ErrorsAsFailures, GuardRule, Reason};
///
/// #[derive(Clone)]
/// struct EmptyAdvances;
///
/// impl Advance<String> for EmptyAdvances {
///     fn advance(&self, result: Result<&String, &BoxError>) -> Option<Reason> {
///         match result {
///             Ok(answer) => answer.is_empty().then(|| "empty answer".into()),
///             Err(error) => Some(Reason::display(error)),
///         }
///     }
/// }
///
/// impl GuardRule for EmptyAdvances {
///     type Classifier = ErrorsAsFailures;
///
///     fn classifier(&self) -> ErrorsAsFailures {
///         ErrorsAsFailures
///     }
/// }
/// ```
pub trait GuardRule {
    /// Judges the calls of guarded providers.
    type Classifier: Clone;

    /// Returns the classifier of the layer around each guarded provider.
    fn classifier(&self) -> Self::Classifier;
}

/// The default: every error goes on, every `Ok` returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsAdvance;

impl<Res> Advance<Res> for ErrorsAdvance {
    fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason> {
        result.err().map(|error| Reason::error(&**error))
    }
}

/// Guards with [`ErrorsAsFailures`].
impl GuardRule for ErrorsAdvance {
    type Classifier = ErrorsAsFailures;

    fn classifier(&self) -> ErrorsAsFailures {
        ErrorsAsFailures
    }
}

/// A closure as a rule; see [`FallbackChain::advance_when`](crate::FallbackChain::advance_when).
#[derive(Clone, Copy)]
pub struct AdvanceWhen<F>(pub(super) F);

impl<Res, F> Advance<Res> for AdvanceWhen<F>
where
    F: Fn(Result<&Res, &(dyn Error + 'static)>) -> bool,
{
    fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason> {
        let result = result.map_err(|error| &**error as &(dyn Error + 'static));
        (self.0)(result).then(|| match result {
            Ok(_) => "unwanted response".into(),
            Err(error) => Reason::error(error),
        })
    }
}

/// Guards with [`ErrorsAsFailures`]: the closure says where to go on, and nothing about health.
impl<F> GuardRule for AdvanceWhen<F> {
    type Classifier = ErrorsAsFailures;

    fn classifier(&self) -> ErrorsAsFailures {
        ErrorsAsFailures
    }
}

impl<F> fmt::Debug for AdvanceWhen<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdvanceWhen").finish_non_exhaustive()
    }
}
