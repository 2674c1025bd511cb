use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::machine::{Breaker, LayerId};
use crate::{outcome::Outcome, policy::Policy, util::time::after, view::State};

/// The result of [`Policy::simulate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulation {
    /// Each new state, with the time at which it was entered.
    pub states: Vec<(Duration, State)>,
    /// The times of the calls that the breaker refused.
    pub refused: Vec<Duration>,
}

impl Policy {
    /// Returns the states that a trace of calls leads to, so that a test can check a policy. It needs no runtime and takes no time.
    ///
    /// Each call is a time since the start, in order, and its outcome if it is admitted. Calls take no time, so none is slow or
    /// overlaps another. With random waits ([jitter](crate::Jitter), throttles), the times differ from run to run. A policy that
    /// [only observes](Policy::observe_only) refuses nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::{Backoff, Outcome, Policy, State, Trip};
    ///
    /// let policy = Policy::new()
    ///     .trip(Trip::consecutive(3))
    ///     .backoff(Backoff::constant(Duration::from_secs(30)));
    ///
    /// let secs = Duration::from_secs;
    /// let down = (0..10).map(|second| (secs(second), Outcome::failure("503")));
    /// let up = (10..60).map(|second| (secs(second), Outcome::Success));
    /// let simulated = policy.simulate(down.chain(up));
    ///
    /// assert_eq!(
    ///     simulated.states,
    ///     [(secs(2), State::Open), (secs(32), State::HalfOpen), (secs(32), State::Closed)]
    /// );
    /// assert_eq!(simulated.refused.len(), 29);
    /// ```
    ///
    /// # Panics
    ///
    /// If a call is earlier than the one before it.
    #[must_use]
    #[track_caller]
    pub fn simulate(&self, calls: impl IntoIterator<Item = (Duration, Outcome)>) -> Simulation {
        let start = Instant::now();
        let mut breaker = Breaker::new(Arc::new(self.clone()), 0, start);
        let mut simulation = Simulation::default();
        let mut state = State::Closed;
        let mut last = Duration::ZERO;
        for (at, outcome) in calls {
            assert!(
                at >= last,
                "`Policy::simulate` needs calls in order of time, got {at:?} after {last:?}"
            );
            last = at;
            let now = after(start, at);
            let mut note = |breaker: &Breaker, now: Instant| {
                let seen = breaker.seen().state;
                if seen != state {
                    state = seen;
                    simulation.states.push((now - start, seen));
                }
            };
            while let Some(due) = breaker.changes_at().filter(|due| *due <= now) {
                breaker.advance_to(due);
                note(&breaker, due);
            }
            breaker.advance_to(now);
            match breaker.admit(LayerId::NONE, now) {
                Ok(ticket) => {
                    breaker.record(ticket, outcome, now);
                    note(&breaker, now);
                }
                Err(_) => simulation.refused.push(at),
            }
        }
        simulation
    }
}
