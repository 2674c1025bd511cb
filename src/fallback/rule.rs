use std::{error::Error, fmt};

use super::no_healthy_provider::ServedBy;
use crate::{layer::ErrorsAsFailures, outcome::Reason, util::errors::BoxError};

/// Decides whether a [chain](crate::FallbackChain) goes on to the next provider.
///
/// The rule does not decide whether a result counts against the provider's health. The layer's [classifier](crate::Classify)
/// does.
///
/// To use a closure as a rule, see [`FallbackChain::advance_when`](crate::FallbackChain::advance_when).
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
    message = "`{Self}` cannot decide whether a chain goes on after a response `{Res}`",
    label = "this rule does not accept responses of type `{Res}`",
    note = "the rules of `tower_health::http` accept `http::Response<B>`",
    note = "with feature `reqwest`, `StatusClassifier` also accepts `reqwest::Response`",
    note = "for responses of another type, use `FallbackChain::new()` with `advance_when` and a closure"
)]
pub trait Advance<Res> {
    /// Returns the reason to go on to the next provider, or `None` to return the result to the caller.
    fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason>;

    /// Attaches the provider that served to the response. Called before the response is returned.
    ///
    /// Default: does nothing, and `served_by` is not computed.
    fn served(&self, response: &mut Res, served_by: impl FnOnce() -> ServedBy) {
        let _ = (response, served_by);
    }

    /// Maps the error of an exhausted chain to the error that the caller receives.
    ///
    /// Default: returns the [`NoHealthyProvider`](crate::error::NoHealthyProvider) unchanged. An error that wraps it must keep it
    /// among its sources, where [`find`](crate::error::find) looks for it.
    fn exhausted(&self, error: BoxError) -> BoxError {
        error
    }
}

/// Supplies the classifier with which a chain [guards](crate::FallbackChain::guard) its providers.
///
/// A rule that is also a classifier returns itself. A rule that only decides when to go on returns [`ErrorsAsFailures`], as
/// [`ErrorsAdvance`] does.
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
    /// The classifier that maps the result of each call to a guarded provider to an [`Outcome`](crate::Outcome).
    type Classifier: Clone;

    /// Returns the classifier of the layer around each guarded provider.
    fn classifier(&self) -> Self::Classifier;
}

/// The default rule: goes on after every error, and returns every `Ok`.
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

/// A rule made from a closure; see [`FallbackChain::advance_when`](crate::FallbackChain::advance_when).
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

/// Guards with [`ErrorsAsFailures`]: the closure does not decide about health.
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
