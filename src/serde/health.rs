//! Health is serialized with ages instead of instants, since an [`Instant`] has no meaning in another process.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::time::Instant;

use crate::{
    cache::Snapshot,
    outcome::Reason,
    view::{Cause, ProviderHealth, ShadowCalls, State, Transition},
};

/// Incremented with every change that an older reader would misunderstand.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(expecting = "a snapshot")]
struct Document<'a> {
    #[serde(deserialize_with = "known_version")]
    version: u32,
    providers: Vec<Row<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "the health of a provider")]
struct Row<'a> {
    id: Cow<'a, str>,
    state: State,
    #[serde(skip_deserializing)]
    healthy: bool,
    cause: Option<Cause>,
    reason: Option<Reason>,
    #[serde(default)]
    consecutive_failures: u32,
    #[serde(default)]
    failed_trials: u32,
    last_error: Option<Reason>,
    last_check_seconds_ago: Option<f64>,
    since_seconds_ago: Option<f64>,
    retry_in_seconds: Option<f64>,
    not_before_seconds: Option<f64>,
    forced_for_seconds: Option<f64>,
    #[serde(skip_deserializing)]
    shadow: Option<ShadowCalls>,
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
            id: Cow::Borrowed(&health.id),
            state: health.state,
            healthy: health.healthy,
            cause: health.cause,
            reason: health.reason.clone(),
            consecutive_failures: health.consecutive_failures,
            failed_trials: health.failed_trials,
            last_error: health.last_error.clone(),
            last_check_seconds_ago: age(health.last_check),
            since_seconds_ago: age(health.since),
            retry_in_seconds: seconds(health.retry_in),
            not_before_seconds: seconds(health.not_before),
            forced_for_seconds: seconds(health.forced_for),
            shadow: health.shadow,
        }
    }

    fn read(self, now: Instant) -> Result<ProviderHealth, String> {
        let seconds = |name, given: Option<f64>| {
            let Some(given) = given else { return Ok(None) };
            let read = Duration::try_from_secs_f64(given);
            let must = |_| {
                format!(
                    "{name} of `{}`: must be a duration in seconds, got {given:?}",
                    self.id
                )
            };
            read.map(Some).map_err(must)
        };
        // An age beyond the start of this process's clock is read as unknown.
        let ago =
            |name, age| Ok::<_, String>(seconds(name, age)?.and_then(|age| now.checked_sub(age)));
        let retry_in = seconds("retry_in_seconds", self.retry_in_seconds)?;
        Ok(ProviderHealth {
            state: self.state,
            healthy: retry_in.is_none(),
            cause: self.cause,
            consecutive_failures: self.consecutive_failures,
            failed_trials: self.failed_trials,
            last_check: ago("last_check_seconds_ago", self.last_check_seconds_ago)?,
            since: ago("since_seconds_ago", self.since_seconds_ago)?,
            retry_in,
            not_before: seconds("not_before_seconds", self.not_before_seconds)?,
            forced_for: seconds("forced_for_seconds", self.forced_for_seconds)?,
            reason: self.reason,
            last_error: self.last_error,
            shadow: None,
            id: self.id.into(),
        })
    }
}

fn known_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let version = u32::deserialize(deserializer)?;
    if version == VERSION {
        Ok(version)
    } else {
        Err(D::Error::custom(format_args!(
            "snapshot version must be {VERSION}, got {version}"
        )))
    }
}

fn seconds_ago(at: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(at).as_secs_f64()
}

/// Serializes times as ages in seconds, relative to the time of the snapshot.
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

/// Deserializes a snapshot as if taken now: ages are subtracted from the current time.
///
/// Rows need only an id and a state. Unknown fields are ignored.
impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = Document::deserialize(deserializer)?.providers;
        let at = Instant::now();
        let rows = rows.into_iter().map(|row| row.read(at));
        let mut providers: Vec<_> = rows.collect::<Result<_, _>>().map_err(D::Error::custom)?;
        providers.sort_by(|one, other| one.id.cmp(&other.id));
        providers.dedup_by(|later, first| later.id == first.id);
        Ok(Self { at, providers })
    }
}

/// Serializes like a row of a [`Snapshot`] taken now.
impl Serialize for ProviderHealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Row::of(self, Instant::now()).serialize(serializer)
    }
}

/// Serializes the time as an age in seconds, relative to now.
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
