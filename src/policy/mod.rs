//! The rules of a breaker, as values.

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

/// The rules of one provider's breaker: when it trips, how long it stays open, how it comes back.
///
/// The default trips at the second failure in a row, stays open for 60 s, then lets one trial
/// decide; a provider that names a time itself is left alone until then.
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
/// A setter of a policy and of its parts is named after its setting; the getter has `get_` before that name, as in
/// [`std::process::Command`].
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
    /// The default of every rule.
    pub fn new() -> Self {
        Self::default()
    }

    /// What counts as a failure, and how many are too many. Default: [`Trip::default`].
    pub fn trip(self, trip: Trip) -> Self {
        Self { trip, ..self }
    }

    /// How long the breaker stays open. Default: [`Backoff::default`].
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// How the breaker comes back. Default: [`Trials::default`].
    pub fn trials(self, trials: Trials) -> Self {
        Self { trials, ..self }
    }

    /// How long to leave a provider alone that asks for it. Default: [`Throttle::default`].
    pub fn throttle(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// Computes every state and refuses nothing: shadow mode, to learn what a policy would do. Default: false.
    ///
    /// A call that would have been refused is made, and its result does not count.
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
