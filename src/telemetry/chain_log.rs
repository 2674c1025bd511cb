//! The logs of chains for the status page: the provider that serves, and the entries that were passed by lately. Only a named chain
//! keeps one.

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

/// Maximum number of pairs of an entry and a reason that are counted.
const MAX_PAIRS: usize = 64;

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
    /// Requests that an entry did not serve, by entry and reason.
    by_entry: Vec<(usize, String, Count)>,
}

/// A number of requests in the last [`PERIOD`]: for each tick, the time of its first request and their number.
#[derive(Debug, Default)]
struct Count(VecDeque<(Instant, u64)>);

/// A log's contents at one instant.
pub(crate) struct LogView {
    pub(crate) name: Arc<str>,
    /// The providers of the entries, which the numbers below are indices of.
    pub(crate) providers: Vec<Arc<str>>,
    /// The entry that served the last request, and the time since then.
    pub(crate) last_served: Option<(usize, Duration)>,
    /// The number of requests that no entry served.
    pub(crate) unserved: u64,
    /// The number of requests that an entry did not serve, by entry and reason.
    pub(crate) passed_by: Vec<(usize, String, u64)>,
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
        logs.retain(|known| known.strong_count() > 0 && known.as_ptr() != Arc::as_ptr(log));
        logs.push(Arc::downgrade(log));
    }

    /// Returns the logs of the chains that still exist, in the order of their names. Of several chains with one name, the latest
    /// counts: after a reload, the old chain still has requests in flight.
    pub(crate) fn views(&self) -> Vec<LogView> {
        let logs: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let by_name: BTreeMap<_, _> = logs.iter().map(|log| (&log.name, log)).collect();
        by_name.into_values().map(|log| log.view()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<ChainLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChainLog {
    fn new(name: Arc<str>, providers: Vec<Arc<str>>) -> Self {
        Self {
            name,
            providers,
            start: Instant::now(),
            last_served: AtomicU64::new(0),
            not_served: Mutex::default(),
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
        let mut not_served = self
            .not_served
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    /// Writes at most once a second for each entry, so that concurrent calls rarely contend.
    fn served(&self, entry: usize, now: Instant) {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        let served = seconds << ENTRY_BITS | (entry as u64 + 1);
        if self.last_served.load(Ordering::Relaxed) != served {
            self.last_served.store(served, Ordering::Relaxed);
        }
    }

    fn last_served(&self, now: Instant) -> Option<(usize, Duration)> {
        let served = self.last_served.load(Ordering::Relaxed);
        let entry = (served & ((1 << ENTRY_BITS) - 1)).checked_sub(1)?;
        let at = self.start + Duration::from_secs(served >> ENTRY_BITS);
        Some((
            usize::try_from(entry).ok()?,
            now.saturating_duration_since(at),
        ))
    }

    fn view(&self) -> LogView {
        let now = Instant::now();
        let not_served = self
            .not_served
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let by_entry = not_served.by_entry.iter();
        let passed_by =
            by_entry.map(|(entry, reason, count)| (*entry, reason.clone(), count.get(now)));
        LogView {
            name: Arc::clone(&self.name),
            providers: self.providers.clone(),
            last_served: self.last_served(now),
            unserved: not_served.by_any.get(now),
            passed_by: passed_by.filter(|(.., requests)| *requests > 0).collect(),
        }
    }
}

impl NotServed {
    fn count(&mut self, entry: usize, reason: &str, now: Instant) {
        let pairs = &mut self.by_entry;
        let known = pairs
            .iter()
            .position(|(of, why, _)| *of == entry && why == reason);
        let index = known.unwrap_or_else(|| {
            // Reasons are few, unless the application makes them up.
            if pairs.len() >= MAX_PAIRS {
                pairs.retain(|(.., count)| count.get(now) > 0);
                pairs.truncate(MAX_PAIRS - 1);
            }
            pairs.push((entry, reason.to_owned(), Count::default()));
            pairs.len() - 1
        });
        pairs[index].2.add(now);
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
