//! The background task that keeps providers exercised.

mod check;
mod driver;
mod end;
mod in_flight;
mod schedule;

use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

pub use self::check::{Check, CheckResult};
pub(crate) use self::end::CheckEnd;
use self::{driver::Driver, in_flight::InFlight};
use crate::{
    HealthCache, Provider, State,
    cache::WeakCache,
    foreign::with_safe_waker,
    policy::{at_least_one, positive},
    time::{FAR, random},
};

/// Checks every registered provider, in the background and all at once.
///
/// The first round is at once, then each provider has its turn every 30 s, with 3 s for each check;
/// a provider whose open window ends is checked then, and not only at its next turn. A check that
/// fails, panics or takes too long is that provider's failure and delays no other.
///
/// What a check proves is said by its [`Check`]. It never touches the streak of live calls, and is
/// outranked by a live call that has succeeded since the last check.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{Check, HealthCache, HealthProbe, Scope};
///
/// # async fn ping() -> bool { true }
/// # async fn tiny_completion() -> Result<(), std::io::Error> { Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cache = HealthCache::default();
///
/// let probe = HealthProbe::new(&cache).check("search", ping).spawn();
///
/// let sparing = HealthProbe::new(&cache)
///     .interval(Duration::from_secs(60))
///     .timeout(Duration::from_secs(5))
///     .scope(Scope::Suspect)
///     .check_with("groq", Check::new(tiny_completion).functional())
///     .spawn();
///
/// probe.stop().await;
/// sparing.stop().await;
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a probe does nothing until it is spawned or run"]
pub struct HealthProbe {
    cache: WeakCache,
    checks: BTreeMap<Arc<str>, Check>,
    interval: Duration,
    timeout: Duration,
    jitter: f64,
    concurrency: usize,
    scope: Scope,
    skips_busy: bool,
}

/// Which providers are checked when their turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Every one.
    #[default]
    All,
    /// Only those that are not closed: spares metered APIs.
    Suspect,
}

impl HealthProbe {
    /// A probe without checks, which does not keep `cache` alive.
    pub fn new(cache: &HealthCache) -> Self {
        Self {
            cache: cache.downgrade(),
            checks: BTreeMap::new(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            jitter: 0.1,
            concurrency: 32,
            scope: Scope::All,
            skips_busy: false,
        }
    }

    /// How often each provider is checked. Default: 30 s.
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn interval(self, interval: Duration) -> Self {
        Self {
            interval: positive("HealthProbe::interval", interval),
            ..self
        }
    }

    /// How long a check may take; then it is cut off, and has failed. Default: 3 s.
    ///
    /// # Panics
    ///
    /// If `timeout` is zero.
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: positive("HealthProbe::timeout", timeout),
            ..self
        }
    }

    /// The share of each interval that is left to chance, so that many replicas do not check at one
    /// instant. Default: 0.1, which makes an interval of 30 s one of 27 to 33 s.
    ///
    /// With more checks than may run at once, it spreads the first round too.
    ///
    /// # Panics
    ///
    /// If `share` is not at least 0 and below 1.
    #[track_caller]
    pub fn jitter(self, share: f64) -> Self {
        assert!(
            (0.0..1.0).contains(&share),
            "`HealthProbe::jitter` must be at least 0 and below 1, got {share}"
        );
        Self {
            jitter: share,
            ..self
        }
    }

    /// How many checks run at once. Default: 32.
    ///
    /// # Panics
    ///
    /// If `checks` is 0.
    #[track_caller]
    pub fn concurrency(self, checks: usize) -> Self {
        Self {
            concurrency: at_least_one("HealthProbe::concurrency", checks),
            ..self
        }
    }

    /// Which providers are checked when their turn comes. Default: [`Scope::All`].
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Skips a provider's turn while it is closed and a live call has succeeded since the last one.
    /// Default: false.
    pub fn skip_when_busy(self, skip: bool) -> Self {
        Self {
            skips_busy: skip,
            ..self
        }
    }

    /// Checks this provider for [reachability](Check::new), and makes it known to the cache.
    ///
    /// A provider has one check: the last that was given.
    pub fn check<F, Fut>(self, id: impl Into<Arc<str>>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: CheckResult,
    {
        self.check_with(id, Check::new(check))
    }

    /// Checks this provider as [`Check`] says, and makes it known to the cache.
    pub fn check_with(mut self, id: impl Into<Arc<str>>, check: impl Into<Check>) -> Self {
        let id = id.into();
        if let Some(cache) = self.cache.upgrade() {
            let _ = cache.provider(Arc::clone(&id));
        }
        self.checks.insert(id, check.into());
        self
    }

    /// Runs one round: every provider in [scope](Self::scope) once. For tests, and for a schedule of
    /// your own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the checks that still run; those that had ended are recorded.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn round(&self) {
        let mut in_flight = InFlight::new(self);
        for id in self.checks.keys().filter(|id| self.takes_turn(id)) {
            in_flight.push(Arc::clone(id));
        }
        while poll_fn(|cx| in_flight.poll_ended(cx)).await.is_some() {}
    }

    /// Runs until the last [`HealthCache`] is gone, which the probe does not keep alive; a check that
    /// holds a cache does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the checks that still run; no result is recorded afterwards.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn run(self) {
        self.run_until(pending()).await;
    }

    /// [Runs](Self::run) in a task of its own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn(self) -> ProbeHandle {
        let (stop, mut stopped) = watch::channel(false);
        let (running, ended) = watch::channel(());
        tokio::spawn(async move {
            // Told to stop, or without a handle.
            self.run_until(async move { drop(stopped.wait_for(|stop| *stop).await) })
                .await;
            drop(running);
        });
        ProbeHandle { stop, ended }
    }

    async fn run_until(self, stop: impl Future<Output = ()>) {
        if let Some(driver) = Driver::new(&self) {
            with_safe_waker(driver.run(pin!(stop))).await;
        }
    }

    /// The provider, unless it or the whole cache is gone.
    fn provider(&self, id: &str) -> Option<Provider> {
        self.cache.upgrade()?.get(id)
    }

    /// Whether this provider is to be checked, now that its turn has come.
    fn takes_turn(&self, id: &str) -> bool {
        let Some(provider) = self.provider(id) else {
            return false;
        };
        let is_closed = provider.health().state == State::Closed;
        let is_spared = self.scope == Scope::Suspect
            || (self.skips_busy
                && provider
                    .cell()
                    .update(|breaker, _| breaker.take_live_proof()));
        !(is_closed && is_spared)
    }

    /// The time between two turns of this provider, a bit of it left to chance.
    fn pause(&self, id: &str) -> Duration {
        let own = self.checks.get(id).and_then(|check| check.interval);
        let spread = 1.0 + self.jitter * (2.0 * random() - 1.0);
        own.unwrap_or(self.interval).min(FAR).mul_f64(spread)
    }

    /// How long the first turn of a provider waits: only many checks are spread.
    fn first_pause(&self) -> Duration {
        if self.checks.len() > self.concurrency {
            self.interval.min(FAR).mul_f64(self.jitter * random())
        } else {
            Duration::ZERO
        }
    }
}

/// A [spawned](HealthProbe::spawn) probe, which ends with the last clone of its handle.
///
/// Keep it for as long as providers are to be checked: `let _ = probe.spawn()` stops it at once. One
/// that is to run as long as the cache is `tokio::spawn(probe.run())`.
#[derive(Clone, Debug)]
#[must_use = "dropping the handle stops the probe"]
pub struct ProbeHandle {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<()>,
}

impl ProbeHandle {
    /// Stops the probe; the future waits until it has ended. Checks that run are cancelled; none
    /// changes anything afterwards. Stopping again does nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the probe all the same.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        with_safe_waker(async move {
            // Nothing is ever sent: the only news is that the task is gone.
            let _ = ended.changed().await;
        })
    }
}
