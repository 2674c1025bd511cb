//! Instants mean nothing outside of their process: they are written as ages, and read as such.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::{Cause, ProviderHealth, Reason, Snapshot, State, Transition};

/// Grows with every change that an older reader would misunderstand.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    providers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    state: State,
    healthy: bool,
    cause: Option<Cause>,
    reason: Option<&'a Reason>,
    consecutive_failures: u32,
    failed_trials: u32,
    last_error: Option<&'a Reason>,
    last_check_seconds_ago: Option<f64>,
    since_seconds_ago: Option<f64>,
    retry_in_seconds: Option<f64>,
    not_before_seconds: Option<f64>,
    forced_for_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Change<'a> {
    provider: &'a str,
    from: State,
    to: State,
    cause: Option<Cause>,
    reason: Option<&'a Reason>,
    seconds_ago: f64,
}

impl<'a> Row<'a> {
    fn of(health: &'a ProviderHealth, now: Instant) -> Self {
        let age = |at: Option<Instant>| at.map(|at| seconds_ago(at, now));
        let seconds = |wait: Option<Duration>| wait.as_ref().map(Duration::as_secs_f64);
        Self {
            id: &health.id,
            state: health.state,
            healthy: health.healthy,
            cause: health.cause,
            reason: health.reason.as_ref(),
            consecutive_failures: health.consecutive_failures,
            failed_trials: health.failed_trials,
            last_error: health.last_error.as_ref(),
            last_check_seconds_ago: age(health.last_check),
            since_seconds_ago: age(health.since),
            retry_in_seconds: seconds(health.retry_in),
            not_before_seconds: seconds(health.not_before),
            forced_for_seconds: seconds(health.forced_for),
        }
    }
}

fn seconds_ago(at: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(at).as_secs_f64()
}

/// With ages in seconds, at the time of the snapshot.
impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.providers.iter();
        let document = Document {
            version: VERSION,
            providers: rows.map(|row| Row::of(row, self.at)).collect(),
        };
        document.serialize(serializer)
    }
}

/// As a row of a [`Snapshot`] that is taken now.
impl Serialize for ProviderHealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Row::of(self, Instant::now()).serialize(serializer)
    }
}

/// With its age in seconds, now.
impl Serialize for Transition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let change = Change {
            provider: &self.provider,
            from: self.from,
            to: self.to,
            cause: self.cause,
            reason: self.reason.as_ref(),
            seconds_ago: seconds_ago(self.at, Instant::now()),
        };
        change.serialize(serializer)
    }
}
