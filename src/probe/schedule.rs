use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

/// Timetable of a probe: the next turn of each checked provider, and at most one wake for each open window.
#[derive(Default)]
pub(super) struct Schedule {
    due: BTreeSet<(Instant, Wake)>,
    windows: HashMap<Arc<str>, Instant>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// A provider's turn has come.
    Turn(Arc<str>),
    /// A provider's open window may have ended.
    WindowEnd(Arc<str>),
}

impl Schedule {
    pub(super) fn turn(&mut self, at: Instant, id: Arc<str>) {
        self.due.insert((at, Wake::Turn(id)));
    }

    /// Plans a wake at `at`, unless this provider has an earlier one, which will plan the next.
    pub(super) fn window_end(&mut self, at: Instant, id: &Arc<str>) {
        let planned = self.windows.get(id).copied();
        if planned.is_some_and(|planned| planned <= at) {
            return;
        }
        let wake = || Wake::WindowEnd(Arc::clone(id));
        if let Some(planned) = planned {
            self.due.remove(&(planned, wake()));
        }
        self.due.insert((at, wake()));
        self.windows.insert(Arc::clone(id), at);
    }

    pub(super) fn windows(&self) -> usize {
        self.windows.len()
    }

    pub(super) fn forget_windows(&mut self) {
        for (id, at) in self.windows.drain() {
            self.due.remove(&(at, Wake::WindowEnd(id)));
        }
    }

    /// Returns the time of the next wake.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Removes the first wake due by `now`, with its time.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Wake)> {
        self.next().filter(|at| *at <= now)?;
        let due = self.due.pop_first();
        if let Some((_, Wake::WindowEnd(id))) = &due {
            self.windows.remove(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn window_that_flaps_has_one_wake() {
        let id = Arc::from("a");
        let mut schedule = Schedule::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            for seconds in [3_600, 60, 1, 30] {
                schedule.window_end(now + Duration::from_secs(seconds), &id);
                assert_eq!(schedule.due.len(), 1);
            }
            assert_eq!(schedule.pop(now), None);
            now += Duration::from_secs(1);
            assert_eq!(schedule.pop(now), Some((now, Wake::WindowEnd(id.clone()))));
        }
        assert!(schedule.due.is_empty() && schedule.windows.is_empty());
    }
}
