use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::state::{Cause, State};
use crate::{outcome::Reason, util::line::Line};

/// The error of a call that a circuit breaker refused: it is open, or half-open with all trials in flight.
///
/// The provider was not called, unless the call was [released](Self::is_released). [`find`](crate::error::find) finds this error inside the errors of other layers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitOpen {
    /// The provider's id.
    pub provider: Arc<str>,
    /// The state: [`State::Open`], or [`State::HalfOpen`] with all trials in flight. [`State::Closed`] is possible if the breaker
    /// closed after the service had decided to refuse the call.
    pub state: State,
    /// The cause of the open breaker.
    pub cause: Option<Cause>,
    /// Time until a call is admitted, as known now. It can become shorter, for example when a trial ends early.
    pub retry_in: Duration,
    /// The provider's last error.
    pub last_error: Option<Reason>,
    pub(crate) is_released: bool,
}

impl CircuitOpen {
    /// Returns whether the call was admitted, and [released](crate::Policy::release_on_open) when the breaker opened. The provider
    /// may then have processed it. `false` if it was refused: the provider was not called.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.is_released
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider,
            state,
            retry_in,
            ..
        } = self;
        let provider = Line(provider);
        write!(f, "circuit breaker of `{provider}` ")?;
        if self.is_released {
            f.write_str("opened while the call waited, retry ")?;
        } else {
            write!(f, "is {state}, retry ")?;
        }
        if retry_in.is_zero() {
            f.write_str("now")?;
        } else {
            write!(f, "in {retry_in:.1?}")?;
        }
        match &self.last_error {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {}
