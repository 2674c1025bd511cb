use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use tokio::time::Instant;
use tower_health::{BoxError, fleet::Entry};

/// The answer of the script.
pub(crate) struct ScriptReply {
    version: String,
    pub(crate) granted: Vec<bool>,
    /// `None` if the caller's version is current.
    entries: Option<Vec<Entry>>,
}

/// The entries of one version, with their remaining times as of `at`.
pub(crate) struct Found {
    pub(crate) version: String,
    entries: Vec<Entry>,
    at: Instant,
}

impl ScriptReply {
    /// Returns the entries of this answer, or those of the `last` answer if they have not changed.
    pub(crate) fn found(&self, last: Option<Found>, at: Instant) -> Result<Found, BoxError> {
        match (&self.entries, last) {
            (Some(entries), _) => Ok(Found {
                version: self.version.clone(),
                entries: entries.clone(),
                at,
            }),
            (None, Some(last)) => Ok(last),
            (None, None) => Err("the script returned no entries".into()),
        }
    }
}

impl Found {
    /// Returns the entries whose time is not over.
    pub(crate) fn entries(&self, now: Instant) -> Vec<Entry> {
        let passed = now - self.at;
        let live = self.entries.iter().filter(|it| it.remaining > passed);
        live.map(|entry| Entry {
            remaining: entry.remaining.saturating_sub(passed),
            ..entry.clone()
        })
        .collect()
    }
}

impl FromRedisValue for ScriptReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let version = from_redis_value(next())?;
        let granted = Vec::<i64>::from_redis_value(next())?;
        let entries = match next() {
            Value::Nil => None,
            entries => Some(Vec::<Value>::from_redis_value(entries)?),
        };
        // Skips values that are not text or have no token.
        let entries = entries.map(|entries| entries.into_iter().filter_map(entry).collect());
        Ok(Self {
            version,
            granted: granted.into_iter().map(|granted| granted == 1).collect(),
            entries,
        })
    }
}

fn entry(value: Value) -> Option<Entry> {
    let (key, remaining, token, value) =
        from_redis_value::<(String, u64, String, String)>(value).ok()?;
    Some(Entry {
        key,
        token: u64::from_str_radix(&token, 16).ok()?,
        value,
        remaining: Duration::from_millis(remaining),
    })
}
