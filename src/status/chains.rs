//! The named chains, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::{EntryView, LogView, PERIOD};

/// The contents of `/chains.json` and of the event `chains`.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    version: u8,
    period_seconds: u64,
    chains: Vec<Chain<'a>>,
}

#[derive(Serialize)]
struct Chain<'a> {
    name: &'a str,
    serving: Option<&'a str>,
    served_seconds_ago: Option<f64>,
    unserved: u64,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    provider: &'a str,
    passed_by: &'a BTreeMap<String, u64>,
}

impl<'a> Document<'a> {
    pub(super) fn of(logs: &'a [LogView]) -> Self {
        Self {
            version: 1,
            period_seconds: PERIOD.as_secs(),
            chains: logs.iter().map(Chain::of).collect(),
        }
    }
}

impl<'a> Chain<'a> {
    fn of(log: &'a LogView) -> Self {
        let last_served = log.last_served.as_ref();
        Self {
            name: &log.name,
            serving: last_served.map(|(provider, _)| &**provider),
            served_seconds_ago: last_served.map(|(_, ago)| ago.as_secs_f64()),
            unserved: log.unserved,
            entries: log.entries.iter().map(Entry::of).collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn of(entry: &'a EntryView) -> Self {
        Self {
            provider: &entry.provider,
            passed_by: &entry.passed_by,
        }
    }
}
