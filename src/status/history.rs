use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{HealthCache, Transition, Transitions};

/// How many transitions are kept of all providers, and of one, so that one that flaps leaves the others theirs.
const KEPT: usize = 1024;
const KEPT_OF_ONE: usize = 64;

/// The latest transitions. Nobody collects them in the background: they wait in the subscription, which is
/// bounded too, until they are asked for.
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
    /// Of whom older ones have made room for those that are kept.
    cut_off: BTreeSet<Arc<str>>,
}

/// Where a reader is in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bookmark(u64);

/// What came after a bookmark, the oldest first.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) since: Instant,
    pub(super) transitions: Vec<Transition>,
    /// Of whom there were more before.
    pub(super) cut_off: Vec<Arc<str>>,
    /// How many came while too many waited to be collected.
    pub(super) missed: u64,
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
                cut_off: BTreeSet::new(),
            }),
        }
    }

    pub(super) fn after(&self, Bookmark(read): Bookmark) -> Excerpt {
        let mut pages = self.pages();
        pages.collect();
        let unread = pages.kept.iter().filter(|(number, _)| *number >= read);
        Excerpt {
            since: self.since,
            transitions: unread.map(|(_, transition)| transition.clone()).collect(),
            cut_off: pages.cut_off.iter().map(Arc::clone).collect(),
            missed: pages.transitions.missed(),
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
            self.cut_off.insert(old.provider);
        } else {
            self.cut_off.remove(&old.provider);
        }
    }
}
