use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::state::{Cause, State};
use crate::{outcome::Reason, util::line::Line};

/// A provider's circuit breaker has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// Whose.
    pub provider: Arc<str>,
    /// From which state.
    pub from: State,
    /// To which state.
    pub to: State,
    /// What opened the breaker, on the way back too.
    pub cause: Option<Cause>,
    /// What was heard against the provider, or what the operator gave as the reason.
    pub reason: Option<Reason>,
    /// When. A window that ran out unseen is announced later, with the time at which it did.
    pub at: Instant,
    /// How long until a call is admitted, as far as was known then; `None`: at once.
    pub retry_in: Option<Duration>,
}

/// `groq: closed -> open (failures: connection refused)`
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider, from, to, ..
        } = self;
        write!(f, "{}: {from} -> {to}", Line(provider))?;
        match (&self.cause, &self.reason) {
            (Some(cause), Some(reason)) => write!(f, " ({cause}: {reason})"),
            (Some(cause), None) => write!(f, " ({cause})"),
            _ => Ok(()),
        }
    }
}
