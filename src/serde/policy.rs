//! A policy as a table whose keys are the names of the setters, with the setters' own limits. What is wrong is
//! said with the name of the setting, since serde knows no path.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, Visitor},
};

use super::raw_value::RawValue;
use crate::{
    policy::{Backoff, FailureRate, Policy, Throttle, Trials, Trip},
    util::limits,
};

/// Reads a type whole, or over a base that has what is not written.
struct Over<'a, T>(Option<&'a T>);

/// Reads and writes a type as its table.
macro_rules! by_table {
    ($($name:ident as $table:ident),+ $(,)?) => {$(
        impl<'de> DeserializeSeed<'de> for Over<'_, $name> {
            type Value = $name;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$name, D::Error> {
                let table = $table::deserialize(deserializer)?;
                table.over(self.0).map_err(D::Error::custom)
            }
        }
    )+};
}

by_table! {
    Trip as TripTable,
    Backoff as BackoffTable,
    Trials as TrialsTable,
    Throttle as ThrottleTable,
}

macro_rules! whole_or_over {
    ($($name:ident as $table:ident),+ $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Over::<Self>(None).deserialize(deserializer)
            }
        }

        /// Reads what is written over this value, which has the rest.
        impl<'de> DeserializeSeed<'de> for &$name {
            type Value = $name;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$name, D::Error> {
                Over::<$name>(Some(self)).deserialize(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $table::from(self).serialize(serializer)
            }
        }
    )+};
}

whole_or_over! {
    Policy as PolicyTable,
    Trip as TripTable,
    Backoff as BackoffTable,
    Trials as TrialsTable,
    Throttle as ThrottleTable,
}

/// By hand: each part is read over that of the base, where it stands, so that an error has its place.
impl<'de> DeserializeSeed<'de> for Over<'_, Policy> {
    type Value = Policy;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Policy, D::Error> {
        deserializer.deserialize_struct("Policy", PARTS, self)
    }
}

const PARTS: &[&str] = &["observe_only", "trip", "backoff", "trials", "throttle"];

impl<'de> Visitor<'de> for Over<'_, Policy> {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy's table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let Self(base) = self;
        let mut policy = base.cloned().unwrap_or_default();
        let mut seen = Vec::new();
        while let Some(part) = map.next_key::<String>()? {
            if seen.contains(&part) {
                return Err(A::Error::custom(format_args!("duplicate field `{part}`")));
            }
            match &*part {
                "observe_only" => {
                    let observe_only =
                        flag("observe_only", map.next_value()?).map_err(A::Error::custom)?;
                    policy.observe_only = observe_only.unwrap_or(policy.observe_only);
                }
                "trip" => {
                    let base = base.map(|it| &it.trip);
                    policy.trip = map.next_value_seed(Over(base))?;
                }
                "backoff" => {
                    let base = base.map(|it| &it.backoff);
                    policy.backoff = map.next_value_seed(Over(base))?;
                }
                "trials" => {
                    let base = base.map(|it| &it.trials);
                    policy.trials = map.next_value_seed(Over(base))?;
                }
                "throttle" => {
                    let base = base.map(|it| &it.throttle);
                    policy.throttle = map.next_value_seed(Over(base))?;
                }
                _ => return Err(A::Error::unknown_field(&part, PARTS)),
            }
            seen.push(part);
        }
        Ok(policy)
    }
}

#[derive(Serialize)]
struct PolicyTable<'a> {
    // Before the tables, as TOML has it.
    observe_only: bool,
    trip: &'a Trip,
    backoff: &'a Backoff,
    trials: &'a Trials,
    throttle: &'a Throttle,
}

impl<'a> From<&'a Policy> for PolicyTable<'a> {
    fn from(policy: &'a Policy) -> Self {
        let Policy {
            trip,
            backoff,
            trials,
            throttle,
            observe_only,
        } = policy;
        Self {
            observe_only: *observe_only,
            trip,
            backoff,
            trials,
            throttle,
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "the table `trip`")]
struct TripTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive: Option<RawValue>,
    exact: Option<RawValue>,
    within: Option<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_call: Option<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_after: Option<RawValue>,
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
    ratio: Option<RawValue>,
    window: Option<RawValue>,
    min_calls: Option<RawValue>,
}

impl TripTable {
    fn over(self, base: Option<&Trip>) -> Result<Trip, String> {
        let mut trip = match base {
            Some(base) => base.clone(),
            // A rate alone: failures in a row do not matter.
            None if self.failure_rate.is_some() => Trip::NEVER,
            None => Trip::default(),
        };
        let failures = count("trip.consecutive", self.consecutive)?;
        trip.consecutive = failures.or(trip.consecutive);
        let is_exact = flag("trip.exact", self.exact)?;
        trip.is_exact = is_exact.unwrap_or(trip.is_exact);
        if let Some(rate) = self.failure_rate {
            trip = rate.over(trip)?;
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
    fn over(self, trip: Trip) -> Result<Trip, String> {
        let base = trip.failure_rate;
        let ratio = optional("trip.failure_rate.ratio", self.ratio, |given| {
            limits::ratio(given.number()?)
        })?;
        let ratio = ratio.or(base.map(|it| it.ratio));
        let window = optional("trip.failure_rate.window", self.window, |given| {
            limits::rate_window(given.duration()?)
        })?;
        let window = window.or(base.map(|it| it.window));
        let min_calls = count("trip.failure_rate.min_calls", self.min_calls)?;
        let trip = trip.or_failure_rate(
            must_be_given("trip.failure_rate.ratio", ratio)?,
            must_be_given("trip.failure_rate.window", window)?,
        );
        Ok(match min_calls.or(base.map(|it| it.min_calls)) {
            Some(calls) => trip.min_calls(calls),
            None => trip,
        })
    }
}

impl From<&Trip> for TripTable {
    fn from(trip: &Trip) -> Self {
        Self {
            consecutive: trip.consecutive.map(RawValue::from),
            exact: Some(trip.is_exact.into()),
            within: Some(trip.within.into()),
            slow_call: trip.slow_call.map(RawValue::from),
            cancelled_after: trip.cancelled_after.map(RawValue::from),
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
    constant: Option<RawValue>,
    jitter: Option<RawValue>,
    max_hold: Option<RawValue>,
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
    first: Option<RawValue>,
    max: Option<RawValue>,
    factor: Option<RawValue>,
}

impl BackoffTable {
    fn over(self, base: Option<&Backoff>) -> Result<Backoff, String> {
        let base = base.cloned().unwrap_or_default();
        let constant = wait("backoff.constant", self.constant)?;
        let backoff = match (constant, self.exponential) {
            (None, None) => base.clone(),
            (Some(wait), None) => Backoff::constant(wait),
            (None, Some(exponential)) => exponential.over(&base)?,
            (Some(_), Some(_)) => {
                return Err("backoff: must be constant or exponential, got both".into());
            }
        };
        let jitter = optional("backoff.jitter", self.jitter, RawValue::word)?;
        let max_hold = wait("backoff.max_hold", self.max_hold)?;
        Ok(backoff
            .jitter(jitter.unwrap_or(base.jitter))
            .max_hold(max_hold.unwrap_or(base.max_hold)))
    }
}

impl ExponentialTable {
    fn over(self, base: &Backoff) -> Result<Backoff, String> {
        let base = (!is_constant(base)).then_some(base);
        let first = wait("backoff.exponential.first", self.first)?;
        let first = must_be_given(
            "backoff.exponential.first",
            first.or(base.map(|it| it.first)),
        )?;
        let max = duration("backoff.exponential.max", self.max)?;
        let max = must_be_given("backoff.exponential.max", max.or(base.map(|it| it.max)))?;
        let max = named("backoff.exponential.max", limits::max(max, first))?;
        let factor = optional("backoff.exponential.factor", self.factor, |given| {
            limits::factor(given.number()?)
        })?;
        let backoff = Backoff::exponential(first, max);
        Ok(match factor.or(base.map(|it| it.factor)) {
            Some(factor) => backoff.factor(factor),
            None => backoff,
        })
    }
}

/// The factor of a constant is 1, unless it was set to no avail.
#[allow(clippy::float_cmp, reason = "as it was set")]
fn is_constant(backoff: &Backoff) -> bool {
    backoff.first == backoff.max && backoff.factor == 1.0
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
        let is_constant = is_constant(backoff);
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
    at_once: Option<RawValue>,
    to_close: Option<RawValue>,
    lease: Option<RawValue>,
    pause: Option<RawValue>,
    by_probe_only: Option<RawValue>,
}

impl TrialsTable {
    fn over(self, base: Option<&Trials>) -> Result<Trials, String> {
        let base = base.cloned().unwrap_or_default();
        let at_once = count("trials.at_once", self.at_once)?;
        let to_close = count("trials.to_close", self.to_close)?;
        let lease = wait("trials.lease", self.lease)?;
        let pause = duration("trials.pause", self.pause)?;
        let by_probe_only = flag("trials.by_probe_only", self.by_probe_only)?;
        Ok(Trials {
            at_once: at_once.unwrap_or(base.at_once),
            to_close: to_close.unwrap_or(base.to_close),
            lease: lease.unwrap_or(base.lease),
            pause: pause.unwrap_or(base.pause),
            by_probe_only: by_probe_only.unwrap_or(base.by_probe_only),
        })
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
    default_wait: Option<RawValue>,
    max_wait: Option<RawValue>,
}

impl ThrottleTable {
    fn over(self, base: Option<&Throttle>) -> Result<Throttle, String> {
        let base = base.cloned().unwrap_or_default();
        let default_wait = wait("throttle.default_wait", self.default_wait)?;
        let max_wait = wait("throttle.max_wait", self.max_wait)?;
        Ok(Throttle {
            default_wait: default_wait.unwrap_or(base.default_wait),
            max_wait: max_wait.unwrap_or(base.max_wait),
        })
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
fn wait(name: &str, given: Option<RawValue>) -> Result<Option<Duration>, String> {
    optional(name, given, |given| limits::positive(given.duration()?))
}

fn duration(name: &str, given: Option<RawValue>) -> Result<Option<Duration>, String> {
    optional(name, given, RawValue::duration)
}

fn count(name: &str, given: Option<RawValue>) -> Result<Option<u32>, String> {
    optional(name, given, |given| limits::at_least_one(given.count()?))
}

fn flag(name: &str, given: Option<RawValue>) -> Result<Option<bool>, String> {
    optional(name, given, RawValue::flag)
}

fn optional<T>(
    name: &str,
    given: Option<RawValue>,
    read: impl FnOnce(RawValue) -> Result<T, String>,
) -> Result<Option<T>, String> {
    named(name, given.map(read).transpose())
}

/// A setting that has no default.
fn must_be_given<T>(name: &str, value: Option<T>) -> Result<T, String> {
    named(name, value.ok_or_else(|| "must be given".into()))
}

fn named<T>(name: &str, checked: Result<T, String>) -> Result<T, String> {
    checked.map_err(|must| format!("{name}: {must}"))
}
