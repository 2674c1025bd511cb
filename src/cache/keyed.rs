use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use crate::cell::Cell;

type ByKey = HashMap<Arc<str>, Arc<Cell>>;

/// How many of the ill are looked at for each eviction: where there are more, one that has recovered may
/// be found some evictions late.
const LOOKS: usize = 32;

/// The providers that only keyed layers have asked for, or that were only restored: a new one takes the place of another where
/// there are too many.
///
/// They queue for their eviction. At its turn, one that was asked for since the last goes to the end
/// of the queue, and one that is ill is set aside. Each of these steps is paid for by a call that was
/// made, so that an eviction takes a constant number of them on average. One that is removed leaves its
/// place behind, to be passed over: looking for it would take the longer the more there are.
#[derive(Default)]
pub(super) struct KeyedCells {
    by_key: ByKey,
    queue: VecDeque<Arc<Cell>>,
    /// Those that were ill at their turn, which come after all others.
    ill: VecDeque<Arc<Cell>>,
    /// Whoever of the ill is looked at next.
    next_look: usize,
    /// How many were added without another going, and may be too many.
    restored: usize,
    /// How many places may be those of the removed.
    removed: usize,
}

impl KeyedCells {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Cell>> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Cell>> {
        self.by_key.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Adds one that is not there, in place of another where there are `bound` of them.
    pub(super) fn insert(&mut self, cell: Arc<Cell>, bound: usize) -> Vec<Arc<Cell>> {
        let evicted = self.make_room(bound);
        self.add(cell);
        evicted
    }

    /// Adds one that is not there; the next insertion makes room for it.
    pub(super) fn insert_restored(&mut self, cell: Arc<Cell>) {
        self.restored += 1;
        self.add(cell);
    }

    fn add(&mut self, cell: Arc<Cell>) {
        self.by_key.insert(Arc::clone(cell.id()), Arc::clone(&cell));
        self.queue.push_back(cell);
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Cell>> {
        let removed = self.by_key.remove(key)?;
        self.removed += 1;
        // Seldom enough to cost each removal a constant time on average.
        if self.removed > self.by_key.len() {
            for cells in [&mut self.queue, &mut self.ill] {
                cells.retain(|cell| is_known(&self.by_key, cell));
            }
            self.removed = 0;
        }
        Some(removed)
    }

    /// Evicts one where there are `bound` of them, and those that only a restore has put above that.
    fn make_room(&mut self, bound: usize) -> Vec<Arc<Cell>> {
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

    fn evict(&mut self, now: Instant) -> Option<Arc<Cell>> {
        let evicted = self
            .next_well(now)
            .or_else(|| next_unused(&mut self.ill, &self.by_key));
        if let Some(cell) = &evicted {
            self.by_key.remove(cell.id());
            cell.forget();
        }
        evicted
    }

    /// Lets those that were set aside, and are ill no more, queue again.
    fn recall(&mut self, now: Instant) {
        for _ in 0..self.ill.len().min(LOOKS) {
            self.next_look %= self.ill.len();
            if self.ill[self.next_look].is_ill(now) {
                self.next_look += 1;
            } else {
                self.queue.extend(self.ill.remove(self.next_look));
            }
        }
    }

    fn next_well(&mut self, now: Instant) -> Option<Arc<Cell>> {
        while let Some(cell) = next_unused(&mut self.queue, &self.by_key) {
            if !cell.is_ill(now) {
                return Some(cell);
            }
            self.ill.push_back(cell);
        }
        None
    }
}

/// The first that was not asked for since its last turn, or the first where all were.
fn next_unused(queue: &mut VecDeque<Arc<Cell>>, by_key: &ByKey) -> Option<Arc<Cell>> {
    for _ in 0..queue.len() {
        let cell = queue.pop_front()?;
        if !is_known(by_key, &cell) {
            continue;
        }
        if !cell.take_touch() {
            return Some(cell);
        }
        queue.push_back(cell);
    }
    queue.pop_front()
}

/// Whether it was not removed; another may be there by its key since.
fn is_known(by_key: &ByKey, cell: &Arc<Cell>) -> bool {
    let known = by_key.get(cell.id());
    known.is_some_and(|known| Arc::ptr_eq(known, cell))
}
