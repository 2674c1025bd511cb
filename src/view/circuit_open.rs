use std::{error::Error, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::state::{Cause, State};
use crate::{outcome::Reason, util::line::Line};

/// The error of a call that a circuit breaker refused, or released when it opened. It refuses calls while it is open, or half-open
/// with all trials in flight.
///
/// The provider was not called, unless the call was [released](Self::is_released). [`find`](crate::error::find) finds this error
/// inside the errors of other layers.
#[derive(Clone)]
pub struct CircuitOpen {
    // Shared with other refusals of the same thread, so that a refusal counts one reference.
    refusal: Arc<Refusal>,
    is_released: bool,
}

/// The refusal of calls by a breaker.
#[derive(Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) provider: Arc<str>,
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
    /// The time at which a call is admitted.
    pub(crate) until: Instant,
    /// The time of the next change of state without an event.
    pub(crate) changes_at: Option<Instant>,
    pub(crate) last_error: Option<Reason>,
}

impl CircuitOpen {
    pub(crate) fn refused(refusal: Arc<Refusal>) -> Self {
        Self {
            refusal,
            is_released: false,
        }
    }

    pub(crate) fn released(refusal: Arc<Refusal>) -> Self {
        Self {
            refusal,
            is_released: true,
        }
    }

    /// Returns whether the call was admitted, and [released](crate::Policy::release_on_open) when the breaker opened. The provider
    /// may then have processed it. If it returns false, the call was refused: the provider was not called.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.is_released
    }

    /// Returns the provider's id.
    #[must_use]
    pub fn provider(&self) -> &str {
        self.shared_id()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.refusal.provider
    }

    /// Returns the state: [`State::Open`], or [`State::HalfOpen`] with all trials in flight or once the open window has ended.
    /// [`State::Closed`] is possible if the breaker closed after the service had decided to refuse the call.
    ///
    /// Apart from the end of the open window, this is the state in which the breaker was when it refused the call.
    #[must_use]
    pub fn state(&self) -> State {
        self.refusal.state_at(Instant::now)
    }

    /// Returns the cause of the open breaker.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.refusal.cause
    }

    /// Returns the time from now until a call is admitted, as known when the breaker refused the call; zero once that time has
    /// come.
    ///
    /// A call can be admitted earlier, for example when a trial ends early.
    #[must_use]
    pub fn retry_in(&self) -> Duration {
        self.refusal.retry_in_at(Instant::now())
    }

    /// Returns the provider's last error.
    #[must_use]
    pub fn last_error(&self) -> Option<&Reason> {
        self.refusal.last_error.as_ref()
    }
}

impl Refusal {
    /// Returns whether every call is still refused, in the same state, unless an event has changed the breaker.
    pub(crate) fn holds_at(&self, now: Instant) -> bool {
        now < self.until && !self.has_changed_at(now)
    }

    fn has_changed_at(&self, now: Instant) -> bool {
        self.changes_at.is_some_and(|at| now >= at)
    }

    /// Returns whether the breaker is held open by an override. When that ends, the state beneath it is not known here.
    pub(crate) fn is_forced(&self) -> bool {
        self.cause == Some(Cause::Forced)
    }

    fn state_at(&self, now: impl FnOnce() -> Instant) -> State {
        let may_half_open = self.state == State::Open && !self.is_forced();
        if may_half_open && self.has_changed_at(now()) {
            State::HalfOpen
        } else {
            self.state
        }
    }

    fn retry_in_at(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Instant::now();
        let (state, retry_in) = (self.refusal.state_at(|| now), self.refusal.retry_in_at(now));
        let provider = Line(self.provider());
        if self.is_released {
            write!(
                f,
                "circuit breaker of `{provider}` opened while the call waited"
            )?;
        } else {
            write!(f, "circuit breaker of `{provider}` is {state}")?;
        }
        f.write_str(", retry ")?;
        if retry_in.is_zero() {
            f.write_str("now")?;
        } else {
            write!(f, "in {retry_in:.1?}")?;
        }
        match self.last_error() {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitOpen")
            .field("provider", &self.provider())
            .field("state", &self.state())
            .field("cause", &self.cause())
            .field("retry_in", &self.retry_in())
            .field("last_error", &self.last_error())
            .field("is_released", &self.is_released())
            .finish()
    }
}

impl Error for CircuitOpen {}
