//! A policy whose settings the model can read.

use std::time::Duration;

use tower_health::{Backoff, Policy, Throttle, Trials, Trip};

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting")]
pub(crate) struct Rules {
    pub(crate) trip: TripRule,
    pub(crate) exact: bool,
    pub(crate) within: Duration,
    pub(crate) slow_call: Option<Duration>,
    pub(crate) cancelled_after: Option<Duration>,
    pub(crate) backoff: Duration,
    pub(crate) factor: u32,
    pub(crate) longest_backoff: Duration,
    pub(crate) max_hold: Duration,
    pub(crate) at_once: u32,
    pub(crate) to_close: u32,
    pub(crate) lease: Duration,
    pub(crate) pause: Duration,
    pub(crate) by_probe_only: bool,
    pub(crate) slow_start: bool,
    pub(crate) default_wait: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) observe_only: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum TripRule {
    Consecutive(u32),
    Rate(Rate),
    Either(u32, Rate),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// The share of failures that trips: one in this many calls.
    pub(crate) one_in: u32,
    pub(crate) window: Duration,
    pub(crate) min_calls: u32,
}

impl TripRule {
    pub(crate) fn consecutive(self) -> Option<u32> {
        match self {
            Self::Consecutive(failures) | Self::Either(failures, _) => Some(failures),
            Self::Rate(_) => None,
        }
    }

    pub(crate) fn rate(self) -> Option<Rate> {
        match self {
            Self::Rate(rate) | Self::Either(_, rate) => Some(rate),
            Self::Consecutive(_) => None,
        }
    }
}

impl Rate {
    fn ratio(self) -> f64 {
        f64::from(self.one_in).recip()
    }
}

impl Rules {
    pub(crate) fn wait_of_backoff(&self, level: u32) -> Duration {
        let longer = |wait: Duration, _| wait.saturating_mul(self.factor).min(self.longest_backoff);
        (0..level).fold(self.backoff, longer)
    }

    /// Returns the wait of a throttle that follows `in_a_row` throttles without a named time.
    pub(crate) fn wait_of_throttle(&self, named: Option<Duration>, in_a_row: u32) -> Duration {
        let longest = Duration::from_secs(300).max(self.default_wait);
        let longer = |wait: Duration, _| (wait * 2).min(longest);
        let unnamed = (0..in_a_row).fold(self.default_wait, longer);
        named.unwrap_or(unnamed).min(self.max_wait)
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.slow_call.is_some() || self.cancelled_after.is_some()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::new()
            .trip(self.trip())
            .backoff(
                Backoff::exponential(self.backoff, self.longest_backoff)
                    .factor(f64::from(self.factor))
                    .max_hold(self.max_hold),
            )
            .trials(self.trials())
            .throttle(
                // Without jitter, because the model cannot predict random numbers.
                Throttle::default()
                    .default_wait(self.default_wait)
                    .max_wait(self.max_wait)
                    .jitter(0.0),
            )
            .observe_only(self.observe_only)
    }

    fn trip(&self) -> Trip {
        let mut trip = match self.trip {
            TripRule::Consecutive(failures) => Trip::consecutive(failures),
            TripRule::Rate(rate) => Trip::failure_rate(rate.ratio(), rate.window),
            TripRule::Either(failures, rate) => {
                Trip::consecutive(failures).or_failure_rate(rate.ratio(), rate.window)
            }
        };
        if let Some(rate) = self.trip.rate() {
            trip = trip.min_calls(rate.min_calls);
        }
        if let Some(limit) = self.slow_call {
            trip = trip.slow_call(limit);
        }
        if let Some(limit) = self.cancelled_after {
            trip = trip.cancelled_after(limit);
        }
        if self.exact {
            trip = trip.exact();
        }
        trip.within(self.within)
    }

    fn trials(&self) -> Trials {
        let trials = Trials::new(self.at_once)
            .to_close(self.to_close)
            .lease(self.lease)
            .pause(self.pause)
            .by_probe_only(self.by_probe_only);
        if self.slow_start {
            trials.slow_start()
        } else {
            trials
        }
    }
}
