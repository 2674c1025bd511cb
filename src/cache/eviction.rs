use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use crate::breaker::SharedBreaker;

type ByKey = HashMap<Arc<str>, Arc<SharedBreaker>>;

/// Number of unhealthy providers that are checked at each eviction. If there are more, one that has recovered may be found some
/// evictions later.
const LOOKS: usize = 32;

/// The providers of keyed layers and of restored snapshots. If there are too many, a new one evicts an old one.
///
/// They wait in a queue, as in the CLOCK algorithm. The first in the queue is evicted, with two exceptions: a provider that was
/// used since its last turn goes to the end, and an unhealthy one goes to a second queue, which comes last. Each such step is due
/// to an earlier call, so an eviction takes a constant number of steps on average. A removed provider stays in its queue and is
/// skipped at its turn, because a search for it would be linear.
#[derive(Default)]
pub(super) struct KeyedBreakers {
    by_key: ByKey,
    queue: VecDeque<Arc<SharedBreaker>>,
    /// Providers that were unhealthy at their turn. They are evicted after all others.
    unhealthy: VecDeque<Arc<SharedBreaker>>,
    /// Index of the unhealthy provider that is checked next.
    next_look: usize,
    /// Number of providers that were added without an eviction, and may exceed the bound.
    restored: usize,
    /// Maximum number of removed providers still in the queues.
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

    /// Adds a new provider, and evicts another if there are already `bound` of them. Returns the evicted ones.
    pub(super) fn insert(
        &mut self,
        breaker: Arc<SharedBreaker>,
        bound: usize,
    ) -> Vec<Arc<SharedBreaker>> {
        let evicted = self.make_room(bound);
        self.add(breaker);
        evicted
    }

    /// Adds a new provider without an eviction; the next [`insert`](Self::insert) makes up for it.
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
        // Rare enough that a removal takes constant time on average.
        if self.removed > self.by_key.len() {
            for breakers in [&mut self.queue, &mut self.unhealthy] {
                breakers.retain(|breaker| is_known(&self.by_key, breaker));
            }
            self.removed = 0;
        }
        Some(removed)
    }

    /// Evicts one provider if there are already `bound` of them, and also those that restores added beyond the bound.
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
            breaker.mark_removed();
        }
        evicted
    }

    /// Moves providers that have recovered from the unhealthy queue to the first one.
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

/// Takes the first provider that was not used since its last turn, or the first of all if all were used.
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

/// Returns whether the breaker is still in the map. A removed one may have been replaced by a new breaker with the same
/// key.
fn is_known(by_key: &ByKey, breaker: &Arc<SharedBreaker>) -> bool {
    let known = by_key.get(breaker.id());
    known.is_some_and(|known| Arc::ptr_eq(known, breaker))
}
