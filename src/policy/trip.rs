use std::time::Duration;

use crate::util::{
    limits,
    settings::{positive, within},
};

/// When a closed breaker trips, and which calls count as failures.
///
/// By default it trips at the second failure in a row, if the two are at most 5 minutes apart.
///
/// ```
/// use std::time::Duration;
/// use tower_health::Trip;
///
/// let twice_in_a_row = Trip::default();
/// let half_of_the_calls = Trip::failure_rate(0.5, Duration::from_secs(30)).min_calls(50);
/// let either = Trip::consecutive(5)
///     .or_failure_rate(0.2, Duration::from_secs(60))
///     .slow_call(Duration::from_secs(10));
/// # let _ = (twice_in_a_row, half_of_the_calls, either);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Trip {
    pub(crate) consecutive: Option<u32>,
    pub(crate) is_exact: bool,
    pub(crate) within: Duration,
    pub(crate) failure_rate: Option<FailureRate>,
    pub(crate) slow_call: Option<Duration>,
    pub(crate) cancelled_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FailureRate {
    pub(crate) ratio: f64,
    pub(crate) window: Duration,
    pub(crate) min_calls: u32,
}

impl Trip {
    const CONSECUTIVE: u32 = 2;
    const WITHIN: Duration = Duration::from_secs(5 * 60);
    const MIN_CALLS: u32 = 20;

    pub(crate) const NEVER: Self = Self {
        consecutive: None,
        is_exact: false,
        within: Self::WITHIN,
        failure_rate: None,
        slow_call: None,
        cancelled_after: None,
    };

    /// Trips at this many failures in a row. Default: 2; with 1, the first failure trips.
    ///
    /// Random errors also come in a row: at 100 calls/s of which 5 % fail, two failures in a row occur every few seconds.
    /// Therefore, the breaker measures this noise: the noisier the calls, the more failures it takes to trip. A streak of failures
    /// that ends with a success instead of a trip is a *blip*. Blips are counted with a half-life of 10 minutes. At 2 blips the
    /// breaker needs one more failure, and one more each time the blips double (4, 8, 16). It never needs more than 16 failures, or
    /// `failures` if that is greater. [`exact`](Self::exact) disables this.
    ///
    /// # Panics
    ///
    /// If `failures` is 0.
    #[track_caller]
    pub fn consecutive(failures: u32) -> Self {
        Self {
            consecutive: Some(within(
                "`Trip::consecutive`",
                limits::at_least_one(failures),
            )),
            ..Self::NEVER
        }
    }

    /// Always trips at the number of [`consecutive`](Self::consecutive) failures. Default: blips raise that number.
    pub fn exact(self) -> Self {
        Self {
            is_exact: true,
            ..self
        }
    }

    /// Trips if at least this ratio of the calls in the last `window` failed, and there were at least
    /// [`min_calls`](Self::min_calls) calls. Failures in a row do not trip.
    ///
    /// The window moves in steps of a tenth of its length, so a call stays in it for 90 to 100 % of `window`.
    ///
    /// # Panics
    ///
    /// If `ratio` is not above 0 and at most 1, or `window` is shorter than 1 ms.
    #[track_caller]
    pub fn failure_rate(ratio: f64, window: Duration) -> Self {
        Self::NEVER.or_failure_rate(ratio, window)
    }

    /// Adds a [`failure_rate`](Self::failure_rate): the breaker trips when either rule is met.
    ///
    /// # Panics
    ///
    /// Like [`failure_rate`](Self::failure_rate).
    #[track_caller]
    pub fn or_failure_rate(self, ratio: f64, window: Duration) -> Self {
        let ratio = within("`Trip::failure_rate`: the ratio", limits::ratio(ratio));
        let window = within(
            "`Trip::failure_rate`: the window",
            limits::rate_window(window),
        );
        let min_calls = Self::MIN_CALLS;
        Self {
            failure_rate: Some(FailureRate {
                ratio,
                window,
                min_calls,
            }),
            ..self
        }
    }

    /// Sets the minimum number of calls in the window for the failure rate to trip. Default: 20.
    ///
    /// # Panics
    ///
    /// If `calls` is 0, or no failure rate is set.
    #[track_caller]
    pub fn min_calls(mut self, calls: u32) -> Self {
        let Some(rate) = &mut self.failure_rate else {
            panic!("`Trip::min_calls` requires a failure rate: set `or_failure_rate` first");
        };
        rate.min_calls = within("`Trip::min_calls`", limits::at_least_one(calls));
        self
    }

    /// Sets the maximum time between two failures in a row. Default: 5 minutes. It does not apply to a failure rate, which has
    /// its own window.
    ///
    /// # Panics
    ///
    /// If `gap` is zero.
    #[track_caller]
    pub fn within(self, gap: Duration) -> Self {
        Self {
            within: positive("Trip::within", gap),
            ..self
        }
    }

    /// Counts a call as a failure as soon as it has been without an answer for this long, in whole milliseconds, rounded up as
    /// Tokio's timers are. Default: no limit.
    ///
    /// So calls that hang open the breaker before their timeout. The call continues, and its later result is ignored. To end such
    /// calls, use [`Policy::release_on_open`](crate::Policy::release_on_open). For a streamed response, the time ends when the
    /// response begins: see [`Permit::release_slot`](crate::Permit::release_slot). Without [`Permit::run`](crate::Permit::run), a
    /// [`Permit`](crate::Permit) has no timer: a success after the limit is recorded as a failure.
    ///
    /// # Panics
    ///
    /// If `limit` is zero. A call that has to wait for its answer panics outside of a Tokio runtime with timers
    /// ([`enable_time`](tokio::runtime::Builder::enable_time)).
    ///
    /// ```
    /// use std::{future::pending, io, time::Duration};
    /// use tower_health::{HealthCache, Policy, State, Trip};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let trip = Trip::consecutive(2).slow_call(Duration::from_secs(3));
    /// let search = HealthCache::new(Policy::new().trip(trip)).provider("search");
    /// for _ in 0..2 {
    ///     tokio::spawn(search.call(pending::<io::Result<()>>()));
    /// }
    ///
    /// tokio::time::sleep(Duration::from_millis(3_001)).await;
    /// assert_eq!(search.health().state, State::Open);
    /// # }
    /// ```
    #[track_caller]
    pub fn slow_call(self, limit: Duration) -> Self {
        Self {
            slow_call: Some(positive("Trip::slow_call", limit)),
            ..self
        }
    }

    /// Counts a call as a failure if it is dropped after at least this long. Default: a dropped call is neutral.
    ///
    /// Use it if a timeout *outside* the layer cancels calls. With zero, every dropped call is a failure. A call whose response
    /// has begun, such as a streamed body, stays neutral: see [`Permit::release_slot`](crate::Permit::release_slot).
    pub fn cancelled_after(self, limit: Duration) -> Self {
        Self {
            cancelled_after: Some(limit),
            ..self
        }
    }

    /// Returns the number of failures in a row that trip; `None` if only a [`failure_rate`](Self::failure_rate) trips.
    #[must_use]
    pub fn get_consecutive(&self) -> Option<u32> {
        self.consecutive
    }

    /// Returns whether the count is [`exact`](Self::exact).
    #[must_use]
    pub fn get_exact(&self) -> bool {
        self.is_exact
    }

    /// Returns the value of [`within`](Self::within).
    #[must_use]
    pub fn get_within(&self) -> Duration {
        self.within
    }

    /// Returns the ratio and the window of [`failure_rate`](Self::failure_rate); `None` if there is none.
    #[must_use]
    pub fn get_failure_rate(&self) -> Option<(f64, Duration)> {
        self.failure_rate.map(|rate| (rate.ratio, rate.window))
    }

    /// Returns the value of [`min_calls`](Self::min_calls); `None` if there is no failure rate.
    #[must_use]
    pub fn get_min_calls(&self) -> Option<u32> {
        self.failure_rate.map(|rate| rate.min_calls)
    }

    /// Returns the value of [`slow_call`](Self::slow_call); `None` if there is no limit.
    #[must_use]
    pub fn get_slow_call(&self) -> Option<Duration> {
        self.slow_call
    }

    /// Returns the value of [`cancelled_after`](Self::cancelled_after); `None` if a dropped call is neutral.
    #[must_use]
    pub fn get_cancelled_after(&self) -> Option<Duration> {
        self.cancelled_after
    }

    /// The number of failed checks in a row that trip: the default's number if only a failure rate is set.
    pub(crate) fn failed_checks(&self) -> u32 {
        self.consecutive.unwrap_or(Self::CONSECUTIVE)
    }

    /// Returns whether a rule depends on how long a call runs.
    pub(crate) fn is_timed(&self) -> bool {
        self.slow_call.is_some() || self.cancelled_after.is_some()
    }
}

impl Default for Trip {
    fn default() -> Self {
        Self::consecutive(Self::CONSECUTIVE)
    }
}
