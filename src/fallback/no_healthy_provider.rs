use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::providers::Providers;
use crate::{
    outcome::{Kind, Reason},
    util::{errors::BoxError, line::Line},
    view::Cause,
};

/// A provider that did not serve a request, with the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The provider's id.
    pub provider: Arc<str>,
    /// `not eligible`, `circuit open`, `deadline exceeded`, or the reason given by the chain's [rule](crate::Advance).
    pub reason: Reason,
    /// The duration of the call; zero if the provider was skipped.
    pub elapsed: Duration,
    /// Why the breaker refuses calls, as of the end of the chain. `None` if it would admit a call, or if the provider was not
    /// eligible.
    pub cause: Option<Cause>,
    /// Time until the breaker admits a call. `None` in the same cases as `cause`.
    pub retry_in: Option<Duration>,
}

impl Attempt {
    pub(super) const REFUSED: &'static str = "circuit open";
    pub(super) const NOT_ELIGIBLE: &'static str = "not eligible";

    /// Creates a finished attempt. Reads the breaker now, so that the effect of the attempt is included.
    pub(super) fn new(providers: &Providers, reason: Reason, elapsed: Duration) -> Self {
        let mut attempt = Self {
            provider: Arc::clone(providers.own().shared_id()),
            reason,
            elapsed,
            cause: None,
            retry_in: None,
        };
        if attempt.is_eligible() {
            let refusing = providers.refusing();
            attempt.cause = refusing.as_ref().and_then(|health| health.cause);
            attempt.retry_in = refusing.and_then(|health| health.retry_in);
        }
        attempt
    }

    /// Returns whether the provider was called. If not, it was skipped: its breaker refused the call, or it was not eligible.
    #[must_use]
    pub fn was_called(&self) -> bool {
        Self::is_of_call(&self.reason)
    }

    /// Returns whether an attempt with this reason was a call.
    pub(super) fn is_of_call(reason: &Reason) -> bool {
        *reason != Self::NOT_ELIGIBLE && *reason != Self::REFUSED
    }

    fn is_eligible(&self) -> bool {
        self.reason != Self::NOT_ELIGIBLE
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider,
            reason,
            elapsed,
            ..
        } = self;
        write!(f, "`{}`: {reason}", Line(provider))?;
        if elapsed.is_zero() {
            return Ok(());
        }
        write!(f, " (after {elapsed:.1?})")
    }
}

/// The provider that served a request, and the attempts that did not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServedBy {
    /// The id of the provider that served.
    pub provider: Arc<str>,
    /// Providers that were skipped or called and did not serve, in order. They precede the provider that served; with
    /// [`FallbackChain::last_answer`](crate::FallbackChain::last_answer), later ones can be included too.
    pub attempts: Vec<Attempt>,
}

impl ServedBy {
    /// Returns the number of calls that the request took, the one that served included.
    #[must_use]
    pub fn calls(&self) -> usize {
        1 + calls(&self.attempts)
    }
}

fn calls(attempts: &[Attempt]) -> usize {
    attempts.iter().filter(|it| it.was_called()).count()
}

/// Error of a [chain](crate::FallbackChain) that was exhausted, or whose deadline passed, without a response.
///
/// Its [source](Error::source) is the last error from a provider, if any call failed with an error.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoHealthyProvider {
    /// Providers that were skipped or called, in order.
    pub attempts: Vec<Attempt>,
    /// Time until the first of the breakers that refused admits a call. `None` if none refused.
    pub retry_in: Option<Duration>,
    pub(super) last_error: Option<BoxError>,
    /// At least one call had a result other than an error of a neutral kind.
    pub(super) was_called: bool,
}

impl NoHealthyProvider {
    /// Returns whether the breaker with this id refused. Compares by pointer: an equal id of another cache does not match.
    pub(crate) fn was_refused_by(&self, id: &Arc<str>) -> bool {
        let mut refusals = self
            .attempts
            .iter()
            .filter(|it| it.reason == Attempt::REFUSED);
        refusals.any(|attempt| Arc::ptr_eq(&attempt.provider, id))
    }

    /// Returns the error's kind if no provider was called.
    pub(crate) fn without_a_call(&self) -> Option<Kind> {
        let is_refusal = |attempt: &Attempt| attempt.is_eligible();
        match (self.was_called, self.attempts.iter().any(is_refusal)) {
            (true, _) => None,
            (false, true) => Some(Kind::CircuitOpen),
            (false, false) => Some(Kind::Request),
        }
    }

    /// Returns the number of calls that the request took.
    #[must_use]
    pub fn calls(&self) -> usize {
        calls(&self.attempts)
    }

    /// Returns whether every eligible provider is unavailable only because it throttles.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        let mut eligible = self.attempts.iter().filter(|it| it.is_eligible());
        let is_throttled = |it: &Attempt| it.cause == Some(Cause::Throttled);
        eligible.next().is_some_and(is_throttled) && eligible.all(is_throttled)
    }
}

impl fmt::Display for NoHealthyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no healthy provider")?;
        if self.attempts.is_empty() {
            f.write_str(": the chain has no entries")?;
        }
        let mut separator = ": ";
        for attempt in &self.attempts {
            write!(f, "{separator}{attempt}")?;
            separator = ", ";
        }
        match self.retry_in {
            Some(wait) => write!(f, "; retry in {wait:.1?}"),
            None => Ok(()),
        }
    }
}

impl Error for NoHealthyProvider {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.last_error.as_deref().map(|error| error as _)
    }
}
