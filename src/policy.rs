//! The rules of a breaker, as values.

mod backoff;
pub(crate) mod limits;
mod throttle;
mod trials;
mod trip;

use std::time::Duration;

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
#[cfg_attr(feature = "serde", doc = include_str!("serde/policy.md"))]
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

    /// Computes every state and refuses nothing: shadow mode, to learn what a policy would do.
    ///
    /// A call that would have been refused is made, and its result does not count.
    pub fn observe_only(self) -> Self {
        Self {
            observe_only: true,
            ..self
        }
    }
}

/// Refuses a setting of no time at all.
#[track_caller]
pub(crate) fn positive(setting: &str, duration: Duration) -> Duration {
    within(&format!("`{setting}`"), limits::positive(duration))
}

/// Refuses a setting that is beyond its limit.
#[track_caller]
fn within<T>(setting: &str, checked: Result<T, String>) -> T {
    match checked {
        Ok(value) => value,
        Err(must) => panic!("{setting} {must}"),
    }
}
