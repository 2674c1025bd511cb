//! The probe and its handle: which providers are checked and when, what a bad check does, and how a probe ends.

mod evidence;
mod futures;
mod handle;
mod open_windows;
mod results;
mod rounds;
mod scope;
mod settings;

use std::{
    fmt,
    future::Ready,
    panic,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower_health::{Cause, Check, HealthCache, HealthProbe, Policy, Reason, State, Trip};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A cache whose providers open at the first failure, for the default 60 s.
fn trips_at_once() -> HealthCache {
    HealthCache::new(Policy::new().trip(Trip::consecutive(1)))
}

/// A probe without jitter: it runs its checks at 0 s, 30 s, 60 s and so on.
fn steady(cache: &HealthCache) -> HealthProbe {
    HealthProbe::new(cache).jitter(0.0)
}

/// A probe with only one round in an hour.
fn hourly(cache: &HealthCache) -> HealthProbe {
    steady(cache).interval(HOUR)
}

fn ids(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("provider {number}"))
        .collect()
}

fn all_of(ids: &[String], probe: HealthProbe, backend: &Backend) -> HealthProbe {
    ids.iter()
        .fold(probe, |probe, id| probe.check(id.as_str(), backend.check()))
}

/// Lets time pass, and everything happen that is due by its end.
async fn pass(time: Duration) {
    sleep(time + Duration::from_millis(1)).await;
}

/// Returns the reason with which the check, as its provider's only one, opens the breaker.
async fn reason_of(check: Check) -> Reason {
    let cache = trips_at_once();
    HealthProbe::new(&cache)
        .check_with("a", check)
        .round()
        .await;
    let health = cache.provider("a").health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Probe));
    health.last_error.expect("it was marked")
}

fn assert_nothing_recorded(cache: &HealthCache) {
    for row in cache.snapshot().providers {
        assert!(row.healthy && row.last_check.is_none(), "{row:?}");
    }
}

fn cannot_be_made() -> Ready<Result<(), fmt::Error>> {
    panic!("cannot be made");
}

/// A check whose future panics when dropped, at its end or at its timeout.
struct CannotBeDropped {
    ends: bool,
}

impl Future for CannotBeDropped {
    type Output = Result<(), fmt::Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ends {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for CannotBeDropped {
    fn drop(&mut self) {
        panic!("cannot be dropped");
    }
}

/// A panic payload that panics again when dropped.
struct NotEvenItsPanic;

impl Drop for NotEvenItsPanic {
    fn drop(&mut self) {
        panic!("not even its panic can be dropped");
    }
}

/// A backend for checks, which records their times and how many run at once.
#[derive(Clone)]
struct Backend(Arc<Notes>);

struct Notes {
    since: Instant,
    takes: Duration,
    is_down: AtomicBool,
    asked: Mutex<Vec<Instant>>,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Default for Backend {
    fn default() -> Self {
        Self::taking(Duration::ZERO)
    }
}

impl Backend {
    /// A healthy backend, which answers after `takes`.
    fn taking(takes: Duration) -> Self {
        Self(Arc::new(Notes {
            since: Instant::now(),
            takes,
            is_down: AtomicBool::new(false),
            asked: Mutex::default(),
            running: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }))
    }

    fn goes_down(&self) {
        self.0.is_down.store(true, Ordering::Relaxed);
    }

    fn comes_back(&self) {
        self.0.is_down.store(false, Ordering::Relaxed);
    }

    fn check(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync + use<> {
        let backend = self.clone();
        move || Box::pin(backend.clone().ask())
    }

    fn is_asked(&self) {
        self.0.asked.lock().unwrap().push(Instant::now());
    }

    async fn ask(self) -> bool {
        let notes = &*self.0;
        self.is_asked();
        let running = Running::one_more(notes);
        if !notes.takes.is_zero() {
            sleep(notes.takes).await;
        }
        drop(running);
        !notes.is_down.load(Ordering::Relaxed)
    }

    /// Returns the times of its checks, in milliseconds.
    fn asked(&self) -> Vec<u128> {
        let asked = self.0.asked.lock().unwrap();
        let since = self.0.since;
        asked.iter().map(|at| (*at - since).as_millis()).collect()
    }

    fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    fn most_at_once(&self) -> usize {
        self.0.most_at_once.load(Ordering::Relaxed)
    }
}

/// A check that is running until this is dropped.
struct Running<'a>(&'a Notes);

impl<'a> Running<'a> {
    fn one_more(notes: &'a Notes) -> Self {
        let running = notes.running.fetch_add(1, Ordering::Relaxed) + 1;
        notes.most_at_once.fetch_max(running, Ordering::Relaxed);
        Self(notes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
