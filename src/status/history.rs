use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    cache::{HealthCache, Transitions},
    view::Transition,
};

/// How many transitions are kept of all providers, and of one, so that one that flaps leaves the others theirs.
const KEPT: usize = 1024;
const KEPT_OF_ONE: usize = 64;

/// The latest transitions. Nobody collects them in the background: they wait in the subscription, which is
/// bounded too, until somebody looks at the service.
#[derive(Debug)]
pub(super) struct History {
    since: Instant,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    transitions: Transitions,
    kept: VecDeque<(u64, Transition)>,
    /// Counts the transitions; the next one's number.
    next: u64,
    /// How many the subscription has dropped, and since when it is whole again.
    missed: u64,
    gap: Option<Instant>,
    /// The same of those of whom older ones have made room: until when some are gone.
    gaps: BTreeMap<Arc<str>, Instant>,
}

/// Where a reader is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bookmark(u64);

/// What came after a bookmark, the oldest first.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) since: Instant,
    pub(super) transitions: Vec<Transition>,
    /// How many came while too many waited to be collected.
    pub(super) missed: u64,
    /// The last of these came before it.
    pub(super) gap: Option<Instant>,
    /// Of whom there were more before, and when the last of those was.
    pub(super) gaps: BTreeMap<Arc<str>, Instant>,
    pub(super) end: Bookmark,
}

impl History {
    pub(super) fn of(cache: &HealthCache) -> Self {
        Self {
            since: Instant::now(),
            pages: Mutex::new(Pages {
                transitions: cache.subscribe(),
                kept: VecDeque::new(),
                next: 0,
                missed: 0,
                gap: None,
                gaps: BTreeMap::new(),
            }),
        }
    }

    /// Makes room in the subscription.
    pub(super) fn collect(&self) {
        self.pages().collect();
    }

    /// Where the next transition will be.
    pub(super) fn end(&self) -> Bookmark {
        let mut pages = self.pages();
        pages.collect();
        Bookmark(pages.next)
    }

    pub(super) fn after(&self, Bookmark(read): Bookmark) -> Excerpt {
        let mut pages = self.pages();
        pages.collect();
        let unread = pages.kept.iter().filter(|(number, _)| *number >= read);
        Excerpt {
            since: self.since,
            transitions: unread.map(|(_, transition)| transition.clone()).collect(),
            missed: pages.missed,
            gap: pages.gap,
            gaps: pages.gaps.clone(),
            end: Bookmark(pages.next),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
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
        if self.kept_of(&new.provider).count() >= KEPT_OF_ONE {
            let oldest = self.kept_of(&new.provider).next();
            self.forget(oldest);
        } else if self.kept.len() >= KEPT {
            self.forget(Some(0));
        }
    }

    fn kept_of(&self, provider: &str) -> impl Iterator<Item = usize> {
        let kept = self.kept.iter().enumerate();
        kept.filter_map(move |(index, (_, it))| (&*it.provider == provider).then_some(index))
    }

    fn forget(&mut self, index: Option<usize>) {
        let Some((_, old)) = index.and_then(|index| self.kept.remove(index)) else {
            return;
        };
        // Only of those that are kept, so that this is bounded too.
        if self.kept_of(&old.provider).next().is_some() {
            let gap = self.gaps.entry(old.provider).or_insert(old.at);
            *gap = old.at.max(*gap);
        } else {
            self.gaps.remove(&old.provider);
        }
    }
}
