use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{
    cache::Provider,
    outcome::{Kind, Reason},
    util::{errors::BoxError, line::Line},
    view::Cause,
};

/// A provider that did not serve a request, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Who.
    pub provider: Arc<str>,
    /// `not eligible`, `circuit open`, `deadline exceeded`, or what the chain's [rule](crate::Advance) said.
    pub reason: Reason,
    /// How long it was tried; zero where it was skipped.
    pub elapsed: Duration,
    /// What keeps its breaker open, be it since this attempt. `None` where a call would be admitted,
    /// and where it does not take the request.
    pub cause: Option<Cause>,
    /// How long until its breaker admits a call; `None` as for the cause.
    pub retry_in: Option<Duration>,
}

impl Attempt {
    pub(super) const REFUSED: &'static str = "circuit open";
    pub(super) const NOT_ELIGIBLE: &'static str = "not eligible";

    /// An attempt that is over. Its breaker is asked now, so that what the attempt did to it is seen.
    pub(super) fn new(provider: &Provider, reason: Reason, elapsed: Duration) -> Self {
        let mut attempt = Self {
            provider: Arc::clone(provider.shared_id()),
            reason,
            elapsed,
            cause: None,
            retry_in: None,
        };
        if attempt.is_eligible() {
            let health = provider.health();
            attempt.cause = health.cause.filter(|_| !health.healthy);
            attempt.retry_in = health.retry_in;
        }
        attempt
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

/// Who served a request, and who did not before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServedBy {
    /// Whose response it is.
    pub provider: Arc<str>,
    /// The providers that were skipped or tried and did not serve, in order: all before it, and with
    /// [`FallbackChain::last_answer`](crate::FallbackChain::last_answer) those after it too.
    pub attempts: Vec<Attempt>,
}

/// A [chain](crate::FallbackChain) has come to its end, or to its deadline, without a response.
///
/// Its [source](Error::source) is the last error of a provider that was called, if there was one.
#[derive(Debug)]
#[non_exhaustive]
pub struct NoHealthyProvider {
    /// The providers that were skipped or tried, in order.
    pub attempts: Vec<Attempt>,
    /// How long until the first of those whose breakers refused would admit a call; `None` where
    /// none refused.
    pub retry_in: Option<Duration>,
    pub(super) last_error: Option<BoxError>,
    /// A provider was called, and the result was not an error of a neutral kind.
    pub(super) was_called: bool,
}

impl NoHealthyProvider {
    /// Whether one of the breakers that refused is the one with this very id.
    pub(crate) fn was_refused_by(&self, id: &Arc<str>) -> bool {
        let mut refusals = self
            .attempts
            .iter()
            .filter(|it| it.reason == Attempt::REFUSED);
        refusals.any(|attempt| Arc::ptr_eq(&attempt.provider, id))
    }

    /// How the chain came to its end without a call of any provider; `None` where one was called.
    pub(crate) fn without_a_call(&self) -> Option<Kind> {
        let is_refusal = |attempt: &Attempt| attempt.is_eligible();
        match (self.was_called, self.attempts.iter().any(is_refusal)) {
            (true, _) => None,
            (false, true) => Some(Kind::CircuitOpen),
            (false, false) => Some(Kind::Request),
        }
    }

    /// Whether every provider that takes the request wants a pause, and no more is wrong with it.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        let mut eligible = self.attempts.iter().filter(|it| it.is_eligible());
        let wants_pause = |it: &Attempt| it.cause == Some(Cause::Throttled);
        eligible.next().is_some_and(wants_pause) && eligible.all(wants_pause)
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
