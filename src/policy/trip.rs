use std::time::Duration;

use crate::util::{
    limits,
    settings::{positive, within},
};

/// What counts as a failure, and how many are too many.
///
/// The default trips at the second failure in a row, unless more than 5 minutes lie between them.
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

    /// Trips at `failures` in a row. Default: 2; with 1, the first failure trips.
    ///
    /// Where errors are random and calls are many, two failures in a row come by chance: with 5 % of errors at 100 calls/s,
    /// every few seconds. So a streak must outgrow the noise. A streak that a success ends without a trip is a *blip*. Blips are
    /// counted with a half-life of 10 minutes. At 2 blips the breaker trips at one failure more than `failures`, and at one more
    /// with each doubling; at 16 in all at most, or at `failures` where that is more. [`exact`](Self::exact) switches this off.
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

    /// Trips at the count of [`consecutive`](Self::consecutive), however often a streak has come to nothing. Default: noise raises
    /// the count.
    pub fn exact(self) -> Self {
        Self {
            is_exact: true,
            ..self
        }
    }

    /// Trips when `ratio` of the calls of the last `window` failed, and there were at least
    /// [`min_calls`](Self::min_calls) of them. Failures in a row then do not matter.
    ///
    /// The window moves in tenths: a call is forgotten once it is between nine tenths of `window`
    /// and the whole of it old.
    ///
    /// # Panics
    ///
    /// If `ratio` is not above 0 and at most 1, or `window` is shorter than 1 ms.
    #[track_caller]
    pub fn failure_rate(ratio: f64, window: Duration) -> Self {
        Self::NEVER.or_failure_rate(ratio, window)
    }

    /// Trips at a [`failure_rate`](Self::failure_rate) too, whichever comes first.
    ///
    /// # Panics
    ///
    /// As [`failure_rate`](Self::failure_rate).
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

    /// How many calls the window must hold before the rate means anything. Default: 20.
    ///
    /// # Panics
    ///
    /// If `calls` is 0, or no failure rate is set that it could belong to.
    #[track_caller]
    pub fn min_calls(mut self, calls: u32) -> Self {
        let Some(rate) = &mut self.failure_rate else {
            panic!("`Trip::min_calls` belongs to a failure rate: set `or_failure_rate` first");
        };
        rate.min_calls = within("`Trip::min_calls`", limits::at_least_one(calls));
        self
    }

    /// Failures further apart than this are not in a row. Default: 5 minutes. A failure rate has a
    /// window of its own, and does not mind.
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

    /// A success that took at least this long, from permit to verdict, is a failure. Default: none is too slow.
    ///
    /// For an answer that comes bit by bit, such as a streamed body, what counts is the time to its
    /// first bit: the clock stops at [`Permit::release_slot`](crate::Permit::release_slot).
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn slow_call(self, limit: Duration) -> Self {
        Self {
            slow_call: Some(positive("Trip::slow_call", limit)),
            ..self
        }
    }

    /// A call that was dropped after it had run for this long is a failure. Default: a dropped call says nothing.
    ///
    /// For stacks with a timeout *outside* the layer, which cancels calls instead of failing them.
    /// Zero makes every dropped call a failure. A call whose answer has begun to come when it is dropped, such as that
    /// of a streamed body, is none: see [`Permit::release_slot`](crate::Permit::release_slot).
    pub fn cancelled_after(self, limit: Duration) -> Self {
        Self {
            cancelled_after: Some(limit),
            ..self
        }
    }

    /// Returns how many failures in a row trip; `None`: only a [`failure_rate`](Self::failure_rate) does.
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

    /// Returns the ratio and the window of [`failure_rate`](Self::failure_rate); `None`: there is none.
    #[must_use]
    pub fn get_failure_rate(&self) -> Option<(f64, Duration)> {
        self.failure_rate.map(|rate| (rate.ratio, rate.window))
    }

    /// Returns the value of [`min_calls`](Self::min_calls); `None`: there is no failure rate.
    #[must_use]
    pub fn get_min_calls(&self) -> Option<u32> {
        self.failure_rate.map(|rate| rate.min_calls)
    }

    /// Returns the value of [`slow_call`](Self::slow_call); `None`: no call is too slow.
    #[must_use]
    pub fn get_slow_call(&self) -> Option<Duration> {
        self.slow_call
    }

    /// Returns the value of [`cancelled_after`](Self::cancelled_after); `None`: a dropped call is neutral.
    #[must_use]
    pub fn get_cancelled_after(&self) -> Option<Duration> {
        self.cancelled_after
    }

    /// Failed checks in a row at which a probe trips: a rate alone names no count, so the default's holds.
    pub(crate) fn failed_checks(&self) -> u32 {
        self.consecutive.unwrap_or(Self::CONSECUTIVE)
    }

    /// Whether a call's duration matters, so that its start must be known.
    pub(crate) fn is_timed(&self) -> bool {
        self.slow_call.is_some() || self.cancelled_after.is_some()
    }
}

impl Default for Trip {
    fn default() -> Self {
        Self::consecutive(Self::CONSECUTIVE)
    }
}
