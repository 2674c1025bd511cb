use std::{fmt, time::Duration};

/// What a provider's circuit breaker does with the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are refused until a deadline.
    Open,
    /// A few trial calls pass; they decide.
    HalfOpen,
}

impl State {
    /// `closed`, `open` or `half-open`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What opened a provider's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Calls failed, or the application said so by [`mark_unhealthy`](crate::Provider::mark_unhealthy).
    Failures,
    /// The provider asked for a pause.
    Throttled,
    /// Checks of a [`HealthProbe`](crate::HealthProbe) failed.
    Probe,
    /// An operator decided it by [`force`](crate::Provider::force).
    Forced,
}

impl Cause {
    /// `failures`, `throttled`, `probe` or `forced`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Throttled => "throttled",
            Self::Probe => "probe",
            Self::Forced => "forced",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an operator holds a breaker at; see [`Provider::force`](crate::Provider::force).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Override {
    /// Refuse every call.
    Open,
    /// Admit every call.
    Closed,
}

impl Override {
    /// The longest time that is accepted from outside the program: from requests of control and from snapshots.
    pub(crate) const LONGEST_FROM_OUTSIDE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
}

impl From<Override> for State {
    fn from(forced: Override) -> Self {
        match forced {
            Override::Open => Self::Open,
            Override::Closed => Self::Closed,
        }
    }
}
