use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::state::{Cause, State};
use crate::{outcome::Reason, util::time::after};

/// The health of one provider at one instant: a copy, which nothing changes afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// Who.
    pub id: Arc<str>,
    /// The state of its circuit breaker. An open window that has run out reads half-open.
    pub state: State,
    /// A call at that instant would have been admitted.
    pub healthy: bool,
    /// What opened the breaker, or [`Cause::Forced`]; `None` while it is closed of itself.
    pub cause: Option<Cause>,
    /// Why it is in this state: what was heard last, or an operator's words while it is
    /// [forced](crate::Provider::force).
    pub reason: Option<Reason>,
    /// Failures of live calls in a row.
    pub consecutive_failures: u32,
    /// Trials that failed: how far an exponential backoff has grown. They count until the provider has stayed
    /// closed as long as it was last open.
    pub failed_trials: u32,
    /// The last thing that was heard against it.
    pub last_error: Option<Reason>,
    /// When something last told of its health, be it a check or a live call: the end of a check, a failure, a throttle or a
    /// trial of a live call, or a [mark](crate::Provider::mark_unhealthy). Other successes of live calls do not set it, since
    /// they write nothing.
    pub last_check: Option<Instant>,
    /// Since when it is in this state; `None`: from the beginning.
    pub since: Option<Instant>,
    /// How long until a call is admitted; `None`: one would be admitted now.
    pub retry_in: Option<Duration>,
    /// How long until the time that the provider itself [named](crate::Outcome::Throttled), before which
    /// nothing ends the wait; `None`: it named none, or the time has come.
    pub not_before: Option<Duration>,
    /// How long an override still lasts; `None`: the state is not [forced](crate::Provider::force).
    pub forced_for: Option<Duration>,
}

impl ProviderHealth {
    /// As it would be shown so much later, if it had stood still meanwhile.
    pub(crate) fn later(self, by: Duration) -> Self {
        Self {
            last_check: self.last_check.map(|at| after(at, by)),
            since: self.since.map(|at| after(at, by)),
            ..self
        }
    }

    /// The health of a provider of which nothing is known.
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
        }
    }
}
