use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{BoxError, Reason};

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
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider,
            reason,
            elapsed,
        } = self;
        write!(f, "`{provider}`: {reason}")?;
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
    /// The providers that were skipped or tried before it, in order.
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
