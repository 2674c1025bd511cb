//! A policy as a table whose keys are the names of the setters, with the setters' own limits. What is wrong is
//! said with the name of the setting, since serde knows no path.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::given::Given;
use crate::{
    Backoff, Policy, Throttle, Trials, Trip,
    policy::{FailureRate, limits},
};

/// Reads and writes a type as its table.
macro_rules! by_table {
    ($($name:ident as $table:ident),+ $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $table::deserialize(deserializer)?.read().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $table::from(self).serialize(serializer)
            }
        }
    )+};
}

by_table! {
    Policy as PolicyTable,
    Trip as TripTable,
    Backoff as BackoffTable,
    Trials as TrialsTable,
    Throttle as ThrottleTable,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a policy's table")]
struct PolicyTable {
    // Before the tables, as TOML has it.
    observe_only: Option<Given>,
    trip: Trip,
    backoff: Backoff,
    trials: Trials,
    throttle: Throttle,
}

impl PolicyTable {
    fn read(self) -> Result<Policy, String> {
        let policy = Policy::new()
            .trip(self.trip)
            .backoff(self.backoff)
            .trials(self.trials)
            .throttle(self.throttle);
        let observe_only = flag("observe_only", self.observe_only)?;
        Ok(if observe_only {
            policy.observe_only()
        } else {
            policy
        })
    }
}

impl From<&Policy> for PolicyTable {
    fn from(policy: &Policy) -> Self {
        Self {
            observe_only: Some(policy.observe_only.into()),
            trip: policy.trip.clone(),
            backoff: policy.backoff.clone(),
            trials: policy.trials.clone(),
            throttle: policy.throttle.clone(),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "the table `trip`")]
struct TripTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive: Option<Given>,
    exact: Option<Given>,
    within: Option<Given>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_call: Option<Given>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_after: Option<Given>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_rate: Option<FailureRateTable>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "the table `trip.failure_rate`"
)]
struct FailureRateTable {
    ratio: Option<Given>,
    window: Option<Given>,
    min_calls: Option<Given>,
}

impl TripTable {
    fn read(self) -> Result<Trip, String> {
        let failures = count("trip.consecutive", self.consecutive)?;
        let mut trip = match (failures, self.failure_rate) {
            (None, None) => Trip::default(),
            (Some(failures), None) => Trip::consecutive(failures),
            // A rate alone: failures in a row do not matter.
            (None, Some(rate)) => rate.read(Trip::failure_rate)?,
            (Some(failures), Some(rate)) => {
                let in_a_row = Trip::consecutive(failures);
                rate.read(|ratio, window| in_a_row.or_failure_rate(ratio, window))?
            }
        };
        if flag("trip.exact", self.exact)? {
            trip = trip.exact();
        }
        if let Some(gap) = wait("trip.within", self.within)? {
            trip = trip.within(gap);
        }
        if let Some(limit) = wait("trip.slow_call", self.slow_call)? {
            trip = trip.slow_call(limit);
        }
        if let Some(limit) = duration("trip.cancelled_after", self.cancelled_after)? {
            trip = trip.cancelled_after(limit);
        }
        Ok(trip)
    }
}

impl FailureRateTable {
    fn read(self, trip: impl FnOnce(f64, Duration) -> Trip) -> Result<Trip, String> {
        let ratio = required("trip.failure_rate.ratio", self.ratio, |given| {
            limits::ratio(given.number()?)
        })?;
        let window = required("trip.failure_rate.window", self.window, |given| {
            limits::rate_window(given.duration()?)
        })?;
        let trip = trip(ratio, window);
        Ok(
            match count("trip.failure_rate.min_calls", self.min_calls)? {
                Some(calls) => trip.min_calls(calls),
                None => trip,
            },
        )
    }
}

impl From<&Trip> for TripTable {
    fn from(trip: &Trip) -> Self {
        Self {
            consecutive: trip.consecutive.map(Given::from),
            exact: Some(trip.is_exact.into()),
            within: Some(trip.within.into()),
            slow_call: trip.slow_call.map(Given::from),
            cancelled_after: trip.cancelled_after.map(Given::from),
            failure_rate: trip.failure_rate.map(FailureRateTable::from),
        }
    }
}

impl From<FailureRate> for FailureRateTable {
    fn from(rate: FailureRate) -> Self {
        Self {
            ratio: Some(rate.ratio.into()),
            window: Some(rate.window.into()),
            min_calls: Some(rate.min_calls.into()),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "the table `backoff`")]
struct BackoffTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    constant: Option<Given>,
    jitter: Option<Given>,
    max_hold: Option<Given>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exponential: Option<ExponentialTable>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "the table `backoff.exponential`"
)]
struct ExponentialTable {
    first: Option<Given>,
    max: Option<Given>,
    factor: Option<Given>,
}

impl BackoffTable {
    fn read(self) -> Result<Backoff, String> {
        let constant = wait("backoff.constant", self.constant)?;
        let mut backoff = match (constant, self.exponential) {
            (None, None) => Backoff::default(),
            (Some(wait), None) => Backoff::constant(wait),
            (None, Some(exponential)) => exponential.read()?,
            (Some(_), Some(_)) => {
                return Err("backoff: must be constant or exponential, got both".into());
            }
        };
        if let Some(jitter) = optional("backoff.jitter", self.jitter, Given::word)? {
            backoff = backoff.jitter(jitter);
        }
        if let Some(limit) = wait("backoff.max_hold", self.max_hold)? {
            backoff = backoff.max_hold(limit);
        }
        Ok(backoff)
    }
}

impl ExponentialTable {
    fn read(self) -> Result<Backoff, String> {
        let first = required("backoff.exponential.first", self.first, |given| {
            limits::positive(given.duration()?)
        })?;
        let max = required("backoff.exponential.max", self.max, |given| {
            limits::max(given.duration()?, first)
        })?;
        let factor = optional("backoff.exponential.factor", self.factor, |given| {
            limits::factor(given.number()?)
        })?;
        let backoff = Backoff::exponential(first, max);
        Ok(match factor {
            Some(factor) => backoff.factor(factor),
            None => backoff,
        })
    }
}

impl From<&Backoff> for BackoffTable {
    fn from(backoff: &Backoff) -> Self {
        let Backoff {
            first,
            max,
            factor,
            jitter,
            max_hold,
        } = *backoff;
        // The factor of a constant is 1, unless it was set to no avail.
        #[allow(clippy::float_cmp, reason = "as it was set")]
        let is_constant = first == max && factor == 1.0;
        Self {
            constant: is_constant.then(|| max.into()),
            jitter: Some(jitter.into()),
            max_hold: Some(max_hold.into()),
            exponential: (!is_constant).then(|| ExponentialTable {
                first: Some(first.into()),
                max: Some(max.into()),
                factor: Some(factor.into()),
            }),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "the table `trials`")]
struct TrialsTable {
    at_once: Option<Given>,
    to_close: Option<Given>,
    lease: Option<Given>,
    pause: Option<Given>,
    by_probe_only: Option<Given>,
}

impl TrialsTable {
    fn read(self) -> Result<Trials, String> {
        let mut trials = match count("trials.at_once", self.at_once)? {
            Some(at_once) => Trials::new(at_once),
            None => Trials::default(),
        };
        if let Some(successes) = count("trials.to_close", self.to_close)? {
            trials = trials.to_close(successes);
        }
        if let Some(limit) = wait("trials.lease", self.lease)? {
            trials = trials.lease(limit);
        }
        if let Some(wait) = duration("trials.pause", self.pause)? {
            trials = trials.pause(wait);
        }
        if flag("trials.by_probe_only", self.by_probe_only)? {
            trials = trials.by_probe_only();
        }
        Ok(trials)
    }
}

impl From<&Trials> for TrialsTable {
    fn from(trials: &Trials) -> Self {
        Self {
            at_once: Some(trials.at_once.into()),
            to_close: Some(trials.to_close.into()),
            lease: Some(trials.lease.into()),
            pause: Some(trials.pause.into()),
            by_probe_only: Some(trials.by_probe_only.into()),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "the table `throttle`")]
struct ThrottleTable {
    default_wait: Option<Given>,
    max_wait: Option<Given>,
}

impl ThrottleTable {
    fn read(self) -> Result<Throttle, String> {
        let mut throttle = Throttle::default();
        if let Some(wait) = wait("throttle.default_wait", self.default_wait)? {
            throttle = throttle.default_wait(wait);
        }
        if let Some(limit) = wait("throttle.max_wait", self.max_wait)? {
            throttle = throttle.max_wait(limit);
        }
        Ok(throttle)
    }
}

impl From<&Throttle> for ThrottleTable {
    fn from(throttle: &Throttle) -> Self {
        Self {
            default_wait: Some(throttle.default_wait.into()),
            max_wait: Some(throttle.max_wait.into()),
        }
    }
}

/// A time that must not be none at all.
fn wait(name: &str, given: Option<Given>) -> Result<Option<Duration>, String> {
    optional(name, given, |given| limits::positive(given.duration()?))
}

fn duration(name: &str, given: Option<Given>) -> Result<Option<Duration>, String> {
    optional(name, given, Given::duration)
}

fn count(name: &str, given: Option<Given>) -> Result<Option<u32>, String> {
    optional(name, given, |given| limits::at_least_one(given.count()?))
}

fn flag(name: &str, given: Option<Given>) -> Result<bool, String> {
    Ok(optional(name, given, Given::flag)?.unwrap_or_default())
}

/// A setting that has a default.
fn optional<T>(
    name: &str,
    given: Option<Given>,
    read: impl FnOnce(Given) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let read = given.map(read).transpose();
    read.map_err(|must| format!("{name}: {must}"))
}

/// A setting that has none.
fn required<T>(
    name: &str,
    given: Option<Given>,
    read: impl FnOnce(Given) -> Result<T, String>,
) -> Result<T, String> {
    optional(name, given, read)?.ok_or_else(|| format!("{name}: must be given"))
}
