//! The settings of a breaker, as plain values.
//!
//! [`Policy`] has four parts: [`Trip`] decides when a closed breaker opens, [`Backoff`] and [`Throttle`] how long it stays open,
//! and [`Trials`] how it closes again. The state machine in `breaker` reads them; nothing here has state.

mod backoff;
mod throttle;
mod trials;
mod trip;

pub(crate) use self::trip::FailureRate;
pub use self::{
    backoff::{Backoff, Jitter},
    throttle::Throttle,
    trials::Trials,
    trip::Trip,
};

/// Settings of a provider's breaker: when it trips, how long it stays open, and how it closes again.
///
/// By default it trips at the second failure in a row and stays open for 60 s. Then one trial decides. If the provider asks for a
/// pause, the breaker stays open until the pause is over.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{Backoff, HealthCache, Policy, Trip};
///
/// let defaults = HealthCache::new(Policy::new());
///
/// let customized = HealthCache::new(
///     Policy::new()
///         .trip(Trip::consecutive(5).or_failure_rate(0.5, Duration::from_secs(30)))
///         .backoff(Backoff::exponential(Duration::from_secs(5), Duration::from_secs(300))),
/// );
/// # let _ = (defaults, customized);
/// ```
///
/// A setter has the name of its setting. The getter has the prefix `get_`, as in [`std::process::Command`].
///
/// ```
/// # use std::time::Duration;
/// # use tower_health::{Policy, Trials};
/// let policy = Policy::new().trials(Trials::new(3).lease(Duration::from_secs(10)));
/// assert_eq!(policy.get_trials().get_at_once(), 3);
/// assert_eq!(policy.get_trip().get_consecutive(), Some(2));
/// ```
#[cfg_attr(feature = "serde", doc = include_str!("../serde/policy.md"))]
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Policy {
    pub(crate) trip: Trip,
    pub(crate) backoff: Backoff,
    pub(crate) trials: Trials,
    pub(crate) throttle: Throttle,
    pub(crate) observe_only: bool,
}

impl Policy {
    /// Returns the default policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when the breaker trips. Default: [`Trip::default`], at the second failure in a row.
    pub fn trip(self, trip: Trip) -> Self {
        Self { trip, ..self }
    }

    /// Sets how long the breaker stays open. Default: [`Backoff::default`], 60 s.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets how the breaker closes again. Default: [`Trials::default`], after one successful trial.
    pub fn trials(self, trials: Trials) -> Self {
        Self { trials, ..self }
    }

    /// Sets how long the breaker stays open if the provider asks for a pause. Default: [`Throttle::default`], the time that the
    /// provider asks for, at most 1 hour.
    pub fn throttle(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// Computes states without refusing calls, to try a policy on live traffic (shadow mode). Default: false.
    ///
    /// Calls that the breaker would have refused reach the provider, but their outcomes do not count.
    pub fn observe_only(self, observe_only: bool) -> Self {
        Self {
            observe_only,
            ..self
        }
    }

    /// Returns the value of [`trip`](Self::trip).
    pub fn get_trip(&self) -> &Trip {
        &self.trip
    }

    /// Returns the value of [`backoff`](Self::backoff).
    pub fn get_backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Returns the value of [`trials`](Self::trials).
    pub fn get_trials(&self) -> &Trials {
        &self.trials
    }

    /// Returns the value of [`throttle`](Self::throttle).
    pub fn get_throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Returns the value of [`observe_only`](Self::observe_only).
    #[must_use]
    pub fn get_observe_only(&self) -> bool {
        self.observe_only
    }
}
