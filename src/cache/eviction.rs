use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use crate::breaker::SharedBreaker;

type ByKey = HashMap<Arc<str>, Arc<SharedBreaker>>;

/// How many of the unhealthy are looked at for each eviction: where there are more, one that has recovered may
/// be found some evictions late.
const LOOKS: usize = 32;

/// The providers that only keyed layers have asked for, or that were only restored: a new one takes the place of another where
/// there are too many.
///
/// They queue for their eviction. At its turn, one that was asked for since the last goes to the end
/// of the queue, and one that is unhealthy is set aside. Each of these steps is paid for by a call that was
/// made, so that an eviction takes a constant number of them on average. One that is removed leaves its
/// place behind, to be passed over: looking for it would take the longer the more there are.
#[derive(Default)]
pub(super) struct KeyedBreakers {
    by_key: ByKey,
    queue: VecDeque<Arc<SharedBreaker>>,
    /// Those that were unhealthy at their turn, which come after all others.
    unhealthy: VecDeque<Arc<SharedBreaker>>,
    /// Whoever of the unhealthy is looked at next.
    next_look: usize,
    /// How many were added without another going, and may be too many.
    restored: usize,
    /// How many places may be those of the removed.
    removed: usize,
}

impl KeyedBreakers {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<SharedBreaker>> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<SharedBreaker>> {
        self.by_key.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Adds one that is not there, in place of another where there are `bound` of them.
    pub(super) fn insert(
        &mut self,
        breaker: Arc<SharedBreaker>,
        bound: usize,
    ) -> Vec<Arc<SharedBreaker>> {
        let evicted = self.make_room(bound);
        self.add(breaker);
        evicted
    }

    /// Adds one that is not there; the next insertion makes room for it.
    pub(super) fn insert_restored(&mut self, breaker: Arc<SharedBreaker>) {
        self.restored += 1;
        self.add(breaker);
    }

    fn add(&mut self, breaker: Arc<SharedBreaker>) {
        self.by_key
            .insert(Arc::clone(breaker.id()), Arc::clone(&breaker));
        self.queue.push_back(breaker);
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<SharedBreaker>> {
        let removed = self.by_key.remove(key)?;
        self.removed += 1;
        // Seldom enough to cost each removal a constant time on average.
        if self.removed > self.by_key.len() {
            for breakers in [&mut self.queue, &mut self.unhealthy] {
                breakers.retain(|breaker| is_known(&self.by_key, breaker));
            }
            self.removed = 0;
        }
        Some(removed)
    }

    /// Evicts one where there are `bound` of them, and those that only a restore has put above that.
    fn make_room(&mut self, bound: usize) -> Vec<Arc<SharedBreaker>> {
        let mut evicted = Vec::new();
        if self.len() < bound {
            return evicted;
        }
        let now = Instant::now();
        self.recall(now);
        let excess = self.len() - bound;
        let turns = 1 + excess.min(self.restored);
        self.restored -= turns - 1;
        evicted.extend((0..turns).map_while(|_| self.evict(now)));
        evicted
    }

    fn evict(&mut self, now: Instant) -> Option<Arc<SharedBreaker>> {
        let evicted = self
            .next_healthy(now)
            .or_else(|| next_unused(&mut self.unhealthy, &self.by_key));
        if let Some(breaker) = &evicted {
            self.by_key.remove(breaker.id());
            breaker.forget();
        }
        evicted
    }

    /// Lets those that were set aside, and are unhealthy no more, queue again.
    fn recall(&mut self, now: Instant) {
        for _ in 0..self.unhealthy.len().min(LOOKS) {
            self.next_look %= self.unhealthy.len();
            if self.unhealthy[self.next_look].is_unhealthy(now) {
                self.next_look += 1;
            } else {
                self.queue.extend(self.unhealthy.remove(self.next_look));
            }
        }
    }

    fn next_healthy(&mut self, now: Instant) -> Option<Arc<SharedBreaker>> {
        while let Some(breaker) = next_unused(&mut self.queue, &self.by_key) {
            if !breaker.is_unhealthy(now) {
                return Some(breaker);
            }
            self.unhealthy.push_back(breaker);
        }
        None
    }
}

/// The first that was not asked for since its last turn, or the first where all were.
fn next_unused(
    queue: &mut VecDeque<Arc<SharedBreaker>>,
    by_key: &ByKey,
) -> Option<Arc<SharedBreaker>> {
    for _ in 0..queue.len() {
        let breaker = queue.pop_front()?;
        if !is_known(by_key, &breaker) {
            continue;
        }
        if !breaker.take_touch() {
            return Some(breaker);
        }
        queue.push_back(breaker);
    }
    queue.pop_front()
}

/// Whether it was not removed; another may be there by its key since.
fn is_known(by_key: &ByKey, breaker: &Arc<SharedBreaker>) -> bool {
    let known = by_key.get(breaker.id());
    known.is_some_and(|known| Arc::ptr_eq(known, breaker))
}
