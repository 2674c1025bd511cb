use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    cache::{HealthCache, Transitions},
    view::Transition,
};

/// Maximum number of transitions kept.
const KEPT: usize = 1024;
/// Maximum per provider, so that a flapping one does not evict the transitions of the others.
const KEPT_PER_PROVIDER: usize = 64;

/// The latest transitions. No background task collects them: they stay in the bounded subscription until a request
/// collects them.
#[derive(Debug)]
pub(super) struct History {
    since: Instant,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    transitions: Transitions,
    kept: VecDeque<(u64, Transition)>,
    /// Sequence number of the next transition.
    next: u64,
    /// Number of transitions that the subscription has dropped.
    missed: u64,
    /// When the first transition after the last drop happened: the history is complete from then on.
    gap: Option<Instant>,
    /// For each provider with evicted transitions, the time of the latest evicted one.
    gaps: BTreeMap<Arc<str>, Instant>,
}

/// A position in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor(u64);

/// The transitions after a [`Cursor`], oldest first, and what is missing from them.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) since: Instant,
    pub(super) transitions: Vec<Transition>,
    /// Number of transitions that the subscription dropped.
    pub(super) missed: u64,
    /// The dropped transitions happened before this time.
    pub(super) gap: Option<Instant>,
    /// For each provider with evicted transitions, the time of the latest evicted one.
    pub(super) gaps: BTreeMap<Arc<str>, Instant>,
    pub(super) end: Cursor,
}

impl History {
    pub(super) fn of(cache: &HealthCache) -> Self {
        Self {
            since: Instant::now(),
            log: Mutex::new(Log {
                transitions: cache.subscribe(),
                kept: VecDeque::new(),
                next: 0,
                missed: 0,
                gap: None,
                gaps: BTreeMap::new(),
            }),
        }
    }

    /// Moves pending transitions out of the subscription, which drops old ones when it is full.
    pub(super) fn collect(&self) {
        self.log().collect();
    }

    /// The position of the next transition.
    pub(super) fn end(&self) -> Cursor {
        let mut log = self.log();
        log.collect();
        Cursor(log.next)
    }

    pub(super) fn after(&self, Cursor(read): Cursor) -> Excerpt {
        let mut log = self.log();
        log.collect();
        let unread = log.kept.iter().filter(|(number, _)| *number >= read);
        Excerpt {
            since: self.since,
            transitions: unread.map(|(_, transition)| transition.clone()).collect(),
            missed: log.missed,
            gap: log.gap,
            gaps: log.gaps.clone(),
            end: Cursor(log.next),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn collect(&mut self) {
        while let Some(transition) = self.transitions.try_recv() {
            let missed = self.transitions.missed();
            if missed > self.missed {
                self.missed = missed;
                self.gap = self.gap.max(Some(transition.at));
            }
            self.make_room_for(&transition);
            self.kept.push_back((self.next, transition));
            self.next += 1;
        }
    }

    fn make_room_for(&mut self, new: &Transition) {
        if self.kept_of(&new.provider).count() >= KEPT_PER_PROVIDER {
            let oldest = self.kept_of(&new.provider).next();
            self.evict(oldest);
        } else if self.kept.len() >= KEPT {
            self.evict(Some(0));
        }
    }

    fn kept_of(&self, provider: &str) -> impl Iterator<Item = usize> {
        let kept = self.kept.iter().enumerate();
        kept.filter_map(move |(index, (_, it))| (&*it.provider == provider).then_some(index))
    }

    fn evict(&mut self, index: Option<usize>) {
        let Some((_, old)) = index.and_then(|index| self.kept.remove(index)) else {
            return;
        };
        // Only for providers that still have kept transitions, so that `gaps` is bounded too.
        if self.kept_of(&old.provider).next().is_some() {
            let gap = self.gaps.entry(old.provider).or_insert(old.at);
            *gap = old.at.max(*gap);
        } else {
            self.gaps.remove(&old.provider);
        }
    }
}
