//! Logs of named chains for the status page: the provider that served last, and recent requests for which an entry was skipped or
//! failed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::outcome::Reason;

/// The time that the counts of a log cover.
pub(crate) const PERIOD: Duration = Duration::from_secs(5 * 60);

/// Requests within this time are counted together.
const TICK: Duration = Duration::from_secs(10);

/// Maximum number of reasons that an entry counts separately. Labels of this crate are few, but an application can add any number.
const MAX_REASONS: usize = 16;

/// Counts further reasons.
const OTHER: &str = "other";

const ENTRY_BITS: u32 = 24;

/// The log of a chain, if it is named. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Option<Arc<ChainLog>>);

/// The logs of the chains that have a provider of one cache.
#[derive(Debug, Default)]
pub(crate) struct ChainLogs(Mutex<Vec<Weak<ChainLog>>>);

/// The log of a named chain.
#[derive(Debug)]
struct ChainLog {
    name: Arc<str>,
    /// The providers of the chain's entries.
    providers: Vec<Arc<str>>,
    start: Instant,
    /// When the last request was served, in whole seconds since `start`, and then the entry that served it, plus 1. Zero if there
    /// was none.
    last_served: AtomicU64,
    not_served: Mutex<NotServed>,
}

#[derive(Debug, Default)]
struct NotServed {
    /// Requests that no entry served.
    by_any: Count,
    /// For each entry, the requests for which it was skipped or failed, by reason.
    by_entry: Vec<Vec<(String, Count)>>,
}

/// A number of requests in the last [`PERIOD`]: for each tick, the time of its first request and their number.
#[derive(Debug, Default)]
struct Count(VecDeque<(Instant, u64)>);

/// A log's contents at one instant.
pub(crate) struct LogView {
    pub(crate) name: Arc<str>,
    /// The provider that served the last request, and the time since then.
    pub(crate) last_served: Option<(Arc<str>, Duration)>,
    /// The number of requests that no entry served.
    pub(crate) unserved: u64,
    pub(crate) entries: Vec<EntryView>,
}

pub(crate) struct EntryView {
    pub(crate) provider: Arc<str>,
    /// The number of requests for which the entry was skipped or failed, by reason.
    pub(crate) passed_by: BTreeMap<String, u64>,
}

impl Log {
    pub(crate) fn named(name: Arc<str>) -> Self {
        Self(Some(Arc::new(ChainLog::new(name, Vec::new()))))
    }

    /// Starts the log anew for a chain of these providers, and adds it to the logs of their caches.
    pub(crate) fn renewed<'a>(
        &self,
        providers: impl Iterator<Item = (&'a Arc<str>, &'a ChainLogs)>,
    ) -> Self {
        Self(self.0.as_ref().map(|log| {
            let (ids, logs): (Vec<_>, Vec<_>) = providers.unzip();
            let ids = ids.into_iter().map(Arc::clone);
            let renewed = Arc::new(ChainLog::new(Arc::clone(&log.name), ids.collect()));
            for logs in logs {
                logs.add(&renewed);
            }
            renewed
        }))
    }

    /// Logs the end of a request: the entry that served it, and the other attempts, oldest first.
    #[inline]
    pub(crate) fn ended<'a>(
        &self,
        served_by: Option<usize>,
        attempts: impl DoubleEndedIterator<Item = (usize, &'a Reason)>,
    ) {
        if let Some(log) = &self.0 {
            log.ended(served_by, attempts);
        }
    }
}

impl ChainLogs {
    fn add(&self, log: &Arc<ChainLog>) {
        let mut logs = self.lock();
        logs.retain(|known| known.strong_count() > 0);
        logs.push(Arc::downgrade(log));
    }

    /// Returns the logs of the chains that still exist, in the order of their names. Of several chains with one name, the latest
    /// counts: after a reload, the old chain still has requests in flight.
    pub(crate) fn views(&self) -> Vec<LogView> {
        let logs: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        // A chain is there once for each of its providers.
        let by_name: BTreeMap<_, _> = logs.iter().map(|log| (&log.name, log)).collect();
        by_name.into_values().map(|log| log.view()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<ChainLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChainLog {
    fn new(name: Arc<str>, providers: Vec<Arc<str>>) -> Self {
        let mut not_served = NotServed::default();
        not_served.by_entry.resize_with(providers.len(), Vec::new);
        Self {
            name,
            providers,
            start: Instant::now(),
            last_served: AtomicU64::new(0),
            not_served: Mutex::new(not_served),
        }
    }

    fn ended<'a>(
        &self,
        served_by: Option<usize>,
        attempts: impl DoubleEndedIterator<Item = (usize, &'a Reason)>,
    ) {
        let now = Instant::now();
        if let Some(entry) = served_by {
            self.served(entry, now);
        }
        let mut attempts = attempts.rev().peekable();
        if served_by.is_some() && attempts.peek().is_none() {
            return;
        }
        let mut not_served = self.lock();
        if served_by.is_none() {
            not_served.by_any.add(now);
        }
        // An entry that was tried twice counts once, with its last reason.
        let mut counted: Vec<_> = served_by.into_iter().collect();
        for (entry, reason) in attempts {
            if !counted.contains(&entry) {
                counted.push(entry);
                not_served.count(entry, reason.label(), now);
            }
        }
    }

    /// Writes only if the second or the entry differs from the last request's. Under load, most requests only read.
    fn served(&self, entry: usize, now: Instant) {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        let served = seconds << ENTRY_BITS | (entry as u64 + 1);
        if self.last_served.load(Ordering::Relaxed) != served {
            self.last_served.store(served, Ordering::Relaxed);
        }
    }

    fn last_served(&self, now: Instant) -> Option<(Arc<str>, Duration)> {
        let served = self.last_served.load(Ordering::Relaxed);
        let entry = (served & ((1 << ENTRY_BITS) - 1)).checked_sub(1)?;
        let provider = self.providers.get(usize::try_from(entry).ok()?)?;
        let at = self.start + Duration::from_secs(served >> ENTRY_BITS);
        Some((Arc::clone(provider), now.saturating_duration_since(at)))
    }

    fn view(&self) -> LogView {
        let now = Instant::now();
        let not_served = self.lock();
        let entries = self.providers.iter().zip(&not_served.by_entry);
        let entries = entries.map(|(provider, reasons)| {
            let counted = reasons
                .iter()
                .map(|(reason, count)| (reason, count.get(now)));
            let recent = counted.filter(|(_, requests)| *requests > 0);
            EntryView {
                provider: Arc::clone(provider),
                passed_by: recent
                    .map(|(reason, requests)| (reason.clone(), requests))
                    .collect(),
            }
        });
        LogView {
            name: Arc::clone(&self.name),
            last_served: self.last_served(now),
            unserved: not_served.by_any.get(now),
            entries: entries.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, NotServed> {
        self.not_served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl NotServed {
    fn count(&mut self, entry: usize, reason: &str, now: Instant) {
        let reasons = &mut self.by_entry[entry];
        if reasons.len() >= MAX_REASONS {
            reasons.retain(|(_, count)| count.get(now) > 0);
        }
        let is_known = reasons.iter().any(|(known, _)| known == reason);
        let reason = if is_known || reasons.len() < MAX_REASONS {
            reason
        } else {
            OTHER
        };
        if let Some((_, count)) = reasons.iter_mut().find(|(known, _)| known == reason) {
            count.add(now);
        } else {
            let mut count = Count::default();
            count.add(now);
            reasons.push((reason.to_owned(), count));
        }
    }
}

impl Count {
    fn add(&mut self, now: Instant) {
        let Self(ticks) = self;
        while ticks.front().is_some_and(|(at, _)| now - *at >= PERIOD) {
            ticks.pop_front();
        }
        match ticks.back_mut() {
            Some((at, requests)) if now - *at < TICK => *requests += 1,
            _ => ticks.push_back((now, 1)),
        }
    }

    fn get(&self, now: Instant) -> u64 {
        let recent = self.0.iter().filter(|(at, _)| now - *at < PERIOD);
        recent.map(|(_, requests)| requests).sum()
    }
}
