use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

/// What is due when.
#[derive(Default)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<(Instant, Wake)>>,
    /// The one wake for each open window; others of the same provider are stale.
    windows: HashMap<Arc<str>, Instant>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// A provider's turn has come.
    Turn(Arc<str>),
    /// A provider's open window may have ended.
    WindowEnd(Arc<str>),
}

impl Schedule {
    pub(super) fn turn(&mut self, at: Instant, id: Arc<str>) {
        self.due.push(Reverse((at, Wake::Turn(id))));
    }

    /// Wakes at `at`, unless an earlier wake will look at this provider anyway.
    pub(super) fn window_end(&mut self, at: Instant, id: &Arc<str>) {
        if self.windows.get(id).is_none_or(|planned| at < *planned) {
            self.windows.insert(Arc::clone(id), at);
            self.due
                .push(Reverse((at, Wake::WindowEnd(Arc::clone(id)))));
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// What is due by `now`, and since when.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Wake)> {
        while self.next()? <= now {
            let Reverse((at, wake)) = self.due.pop()?;
            match &wake {
                Wake::WindowEnd(id) if self.windows.get(id) != Some(&at) => {}
                Wake::WindowEnd(id) => {
                    self.windows.remove(id);
                    return Some((at, wake));
                }
                Wake::Turn(_) => return Some((at, wake)),
            }
        }
        None
    }
}
