//! The settings of a breaker, as plain values.
//!
//! [`Policy`] has four parts: [`Trip`] decides when a closed breaker opens, [`Backoff`] and [`Throttle`] how long it stays open,
//! and [`Trials`] how it closes again. The state machine in `breaker` reads them; nothing here has state.

use std::time::Duration;

use crate::telemetry;

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
    pub(crate) release_on_open: bool,
    pub(crate) measure_latency: bool,
}

impl Policy {
    /// Returns the default policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a policy that fails over quickly and comes back gently, for the providers of a [chain](crate::FallbackChain).
    ///
    /// A call without an answer after `limit` is a failure. Choose `limit` well above what a healthy provider takes. It is not a
    /// timeout: a call that hangs alone waits on until the breaker opens, so keep a timeout inside the layer.
    ///
    /// A request may be processed by two providers, and when the breaker opens, the next provider gets all calls in flight at once. Use
    /// this policy only for requests that may be sent twice, and not for the last provider of a chain, whose calls nobody else serves.
    ///
    /// | setting | reason |
    /// |---|---|
    /// | [`Trip::slow_call`], `limit` | Calls that hang open the breaker after `limit`, not after their timeout. |
    /// | [`Trip::or_failure_rate`], 30 % in 5 s | A provider that hangs for every second call never fails twice in a row. |
    /// | [`release_on_open`](Self::release_on_open) | When the breaker opens, the calls in flight go to the next provider. |
    /// | [`Backoff::exponential`], 1 s to 60 s, [`Jitter::Equal`] | A failed trial delays one caller by about `limit`, so trials can come early. After a short outage, the provider is back within seconds. |
    /// | [`Trials::slow_start`] | The provider that comes back does not get all calls at once. |
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::{HealthCache, Policy};
    ///
    /// let cache = HealthCache::new(Policy::failover_after(Duration::from_secs(3)));
    /// # let _ = cache;
    /// ```
    ///
    /// # Panics
    ///
    /// If `limit` is zero. The calls need a Tokio runtime with timers, like [`Trip::slow_call`].
    #[track_caller]
    pub fn failover_after(limit: Duration) -> Self {
        let trip = Trip::default().or_failure_rate(0.3, Duration::from_secs(5));
        let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60));
        Self::new()
            .trip(trip.slow_call(limit))
            .backoff(backoff.jitter(Jitter::Equal))
            .trials(Trials::default().slow_start())
            .release_on_open(true)
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
    /// provider asks for, at most 1 hour, and up to a tenth longer at random.
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

    /// Releases the calls that are still without an answer when the breaker opens for failures. Default: false.
    ///
    /// A released call ends at once with a [`CircuitOpen`](crate::error::CircuitOpen) that
    /// [is released](crate::error::CircuitOpen::is_released), and its inner future is dropped. So a
    /// [chain](crate::FallbackChain) serves its caller from the next provider, instead of letting it wait for the timeout. The
    /// provider may have processed the request, as after any timeout: set it only where a request may be sent twice. Do not set it
    /// for the last provider of a chain, nor for one without a chain: calls that would have been answered become errors. A chain asks
    /// its [rule](crate::Advance) about a released call, as about any error.
    ///
    /// A call can be released only until its response is returned. Over HTTP, these are the response headers; with a
    /// [`PeekLayer`](crate::http::PeekLayer) inside, the response that this layer returns. Throttles, failed checks and
    /// overrides release no calls, nor does a policy with [`observe_only`](Self::observe_only).
    pub fn release_on_open(self, release_on_open: bool) -> Self {
        Self {
            release_on_open,
            ..self
        }
    }

    /// Measures how long calls take, for the histogram `tower_health_call_duration_seconds`. Default: false.
    ///
    /// A call is measured from its admission until its answer begins, or until its outcome is recorded if that comes first. Over
    /// HTTP, the answer begins with the first frame of the body; that of an event stream, with its first event. The labels are the
    /// provider and the call's outcome: a stream that breaks off is a `failure`. A call that reaches
    /// [`Trip::slow_call`](crate::Trip::slow_call) is recorded then, as a `failure`.
    ///
    /// A measured call reads the clock twice, allocates, and looks its series up in the recorder. Without the feature `metrics`,
    /// this setting has no effect.
    pub fn measure_latency(self, measure_latency: bool) -> Self {
        Self {
            measure_latency,
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

    /// Returns the value of [`release_on_open`](Self::release_on_open).
    #[must_use]
    pub fn get_release_on_open(&self) -> bool {
        self.release_on_open
    }

    /// Returns the value of [`measure_latency`](Self::measure_latency).
    #[must_use]
    pub fn get_measure_latency(&self) -> bool {
        self.measure_latency
    }

    /// Returns whether calls are watched.
    pub(crate) fn watches_calls(&self) -> bool {
        self.is_timed() || self.release_on_open
    }

    /// Returns whether the start of a call must be recorded.
    pub(crate) fn is_timed(&self) -> bool {
        self.trip.is_timed() || self.is_measured()
    }

    /// Returns whether the duration of a call must be recorded.
    pub(crate) fn is_measured(&self) -> bool {
        self.measure_latency && telemetry::IS_METERED
    }
}
