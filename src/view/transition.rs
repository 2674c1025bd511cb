use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::state::{Cause, State};
use crate::{outcome::Reason, util::line::Line};

/// A change of state of a provider's circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The provider's id.
    pub provider: Arc<str>,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// The cause for which the breaker opened, also while it half-opens and closes. [`Cause::Forced`] if an override begins or
    /// ends.
    pub cause: Option<Cause>,
    /// The error that opened the breaker, or the reason that was given for an override. `None` if the breaker half-opens or
    /// closes by itself.
    pub reason: Option<Reason>,
    /// The time of the change. If nothing used the provider when an open window ended, the transition is sent later, with the
    /// time at which the window ended.
    pub at: Instant,
    /// Time until a call is admitted, as known at the change. `None` if a call is admitted at once.
    pub retry_in: Option<Duration>,
}

/// Displays one line. A breaker that closes by itself names what it was open for:
///
/// ```text
/// groq: closed -> open (failures: connection refused)
/// groq: open -> half-open (failures)
/// groq: half-open -> closed (was open: failures)
/// groq: open -> closed (forced: maintenance is over)
/// ```
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider, from, to, ..
        } = self;
        write!(f, "{}: {from} -> {to}", Line(provider))?;
        match (&self.cause, &self.reason) {
            (Some(cause), Some(reason)) => write!(f, " ({cause}: {reason})"),
            (Some(cause), None) if *to == State::Closed => write!(f, " (was open: {cause})"),
            (Some(cause), None) => write!(f, " ({cause})"),
            (None, _) => Ok(()),
        }
    }
}
