//! The named chains, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::telemetry::{LogView, PERIOD};

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
    /// The number of requests by reason.
    passed_by: BTreeMap<&'a str, u64>,
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
        let entries = log.providers.iter().enumerate().map(|(index, provider)| {
            let passed_by = log.passed_by.iter().filter(|(entry, ..)| *entry == index);
            Entry {
                provider,
                passed_by: passed_by
                    .map(|(_, reason, requests)| (&**reason, *requests))
                    .collect(),
            }
        });
        Self {
            name: &log.name,
            serving: log.last_served.map(|(entry, _)| &*log.providers[entry]),
            served_seconds_ago: log.last_served.map(|(_, ago)| ago.as_secs_f64()),
            unserved: log.unserved,
            entries: entries.collect(),
        }
    }
}
