use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    shadow_calls::ShadowCalls,
    state::{Cause, State},
};
use crate::{outcome::Reason, util::time::after};

/// A copy of a provider's health at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// The provider's id.
    pub id: Arc<str>,
    /// The state of the circuit breaker. It is half-open as soon as the open window has ended.
    pub state: State,
    /// Whether a call at that instant would have been admitted.
    pub healthy: bool,
    /// The cause for which the breaker opened, or [`Cause::Forced`]. `None` while it is closed and not forced.
    pub cause: Option<Cause>,
    /// The reason for the state: the last error, or the reason of the override while the breaker is
    /// [forced](crate::Provider::force).
    pub reason: Option<Reason>,
    /// Number of live calls that failed in a row.
    pub consecutive_failures: u32,
    /// Number of failed trials, with which an exponential backoff grows. It returns to 0 once the breaker has stayed closed for as
    /// long as its last open window lasted.
    pub failed_trials: u32,
    /// The last error of a call or a check.
    pub last_error: Option<Reason>,
    /// Time of the last result of a check, of a trial, or of a failed or throttled call, or of the last
    /// [mark](crate::Provider::mark_unhealthy). Other successes of calls do not set it, because they write nothing.
    pub last_check: Option<Instant>,
    /// Time at which the state was entered. `None` if it is the first state.
    pub since: Option<Instant>,
    /// Time until a call is admitted. `None` if it would be admitted now.
    pub retry_in: Option<Duration>,
    /// Time until the moment that the provider itself [asked for](crate::Outcome::Throttled), without
    /// [jitter](crate::Throttle::jitter). No check and no granted trial ends the wait earlier. `None` if the provider asked for
    /// none, or the moment has passed.
    pub not_before: Option<Duration>,
    /// Remaining time of the override. `None` if the breaker is not [forced](crate::Provider::force).
    pub forced_for: Option<Duration>,
    /// Calls that were admitted although the breaker would have refused them, since the provider was created. `None` if there
    /// were none.
    pub shadow: Option<ShadowCalls>,
}

impl ProviderHealth {
    /// Moves the row's times by the age of its snapshot.
    pub(crate) fn later(self, by: Duration) -> Self {
        Self {
            last_check: self.last_check.map(|at| after(at, by)),
            since: self.since.map(|at| after(at, by)),
            ..self
        }
    }

    /// Returns the health of an unknown provider: closed, without any result.
    pub(crate) fn unknown(id: Arc<str>) -> Self {
        Self {
            id,
            state: State::Closed,
            healthy: true,
            cause: None,
            reason: None,
            consecutive_failures: 0,
            failed_trials: 0,
            last_error: None,
            last_check: None,
            since: None,
            retry_in: None,
            not_before: None,
            forced_for: None,
            shadow: None,
        }
    }
}
