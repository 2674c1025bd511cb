use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::state::{Cause, State};
use crate::{outcome::Reason, util::line::Line};

/// A call was refused: the provider's circuit breaker is open, or half-open and on trial already.
///
/// The provider was not called. [`find`](crate::error::find) finds this error beneath those of other layers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitOpen {
    /// Who was not called.
    pub provider: Arc<str>,
    /// [`State::Open`], or [`State::HalfOpen`] with no slot left for a trial. Any other is that of a
    /// service which was ready to refuse the call, and whose breaker has come back since.
    pub state: State,
    /// What opened the breaker.
    pub cause: Option<Cause>,
    /// How long until a call is admitted, as far as can be known now. A trial that ends early makes it sooner.
    pub retry_in: Duration,
    /// The last thing that was heard against the provider.
    pub last_error: Option<Reason>,
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
        write!(f, "circuit breaker of `{provider}` is {state}, retry ")?;
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
