//! A provider that hangs for three minutes, or with [`Poison`], a healthy one that one replica cannot reach.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep};

pub(crate) const OUTAGE: Range<Duration> = Duration::from_secs(60)..Duration::from_secs(240);
pub(crate) const END: Duration = Duration::from_secs(420);
/// Mean time between two calls of a replica.
pub(crate) const PAUSE: Duration = Duration::from_secs(20);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWERS_AFTER: Duration = Duration::from_millis(200);

/// A condition instead of the outage: all calls and checks of the first replica fail, and some calls of the others.
#[derive(Clone, Copy)]
pub(crate) struct Poison {
    /// The share of the other replicas' calls that fail.
    pub(crate) random_errors: f64,
}

#[derive(Clone)]
pub(crate) struct World {
    poison: Option<Poison>,
    start: Instant,
    record: Arc<Mutex<Record>>,
}

/// All calls and checks that reached the provider, all refused calls, and the number of exchanges.
#[derive(Default)]
pub(crate) struct Record {
    /// The time of each call, and whether it was a trial.
    pub(crate) calls: Vec<(Duration, bool)>,
    pub(crate) checks: Vec<Duration>,
    /// The time of each refused call, and the number of its replica.
    pub(crate) refused: Vec<(Duration, usize)>,
    pub(crate) exchanges: usize,
}

impl World {
    pub(crate) fn new(poison: Option<Poison>) -> Self {
        Self {
            poison,
            start: Instant::now(),
            record: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no panic under the lock")
    }

    /// Makes a call. Returns whether it succeeded.
    pub(crate) async fn call(&self, replica: usize, is_trial: bool, chance: f64) -> bool {
        let began = self.now();
        self.record().calls.push((began, is_trial));
        if let Some(Poison { random_errors }) = self.poison {
            sleep(ANSWERS_AFTER).await;
            return replica > 0 && chance >= random_errors;
        }
        if OUTAGE.contains(&began) {
            sleep(TIMEOUT).await;
            return false;
        }
        sleep(ANSWERS_AFTER).await;
        true
    }

    /// Makes a check. Returns whether it passed.
    pub(crate) async fn check(&self, replica: usize) -> bool {
        let began = self.now();
        self.record().checks.push(began);
        if self.poison.is_some() {
            return replica > 0;
        }
        if OUTAGE.contains(&began) {
            sleep(TIMEOUT).await;
        }
        !OUTAGE.contains(&began)
    }
}
