use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    check::{Check, CheckResult},
    sharing::Sharing,
};
use crate::{
    cache::{HealthCache, Provider, WeakCache},
    util::{
        settings::{at_least_one, positive},
        time::{FAR, random},
    },
    view::State,
};

/// Checks providers in the background, concurrently.
///
/// The first checks run immediately, later ones every 30 s, each with a timeout of 3 s. When a provider's open window ends, its
/// check runs immediately. A check that fails, panics or times out counts against its own provider only and delays no other check.
///
/// A [`Check`] proves that its provider is reachable or, if declared [functional](Check::functional), that it serves requests.
/// Checks do not change the failure streak of live calls. While the breaker is closed, a failed check is ignored if a live call
/// has succeeded since the last check.
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
    pub(super) cache: WeakCache,
    pub(super) checks: BTreeMap<Arc<str>, Check>,
    interval: Duration,
    pub(super) timeout: Duration,
    pub(super) jitter: f64,
    pub(super) concurrency: usize,
    scope: Scope,
    skips_busy: bool,
    pub(super) sharing: Sharing,
}

/// Selects the providers that are checked at each interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All providers that have a check.
    #[default]
    All,
    /// Only providers whose breakers are not closed. Saves calls to metered APIs.
    Suspect,
}

impl HealthProbe {
    /// Creates a probe without checks. It does not keep `cache` alive.
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
            sharing: Sharing::default(),
        }
    }

    /// Sets the time between two checks of a provider. Default: 30 s.
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

    /// Sets the maximum duration of a check, after which it is cancelled and fails. Default: 3 s.
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

    /// Sets the jitter as a fraction of each interval, so that replicas do not all check at the same instant. Default: 0.1, which
    /// turns an interval of 30 s into 27 to 33 s.
    ///
    /// If there are more checks than [`concurrency`](Self::concurrency) allows at once, jitter also spreads the first checks.
    ///
    /// # Panics
    ///
    /// If `share` is negative, 1 or more, or NaN.
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

    /// Sets the maximum number of checks in flight. Default: 32.
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

    /// Sets which providers are checked at each interval. Default: [`Scope::All`].
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Sets whether to skip a provider's check if its breaker is closed and a live call has succeeded since the check was last
    /// due. Default: false.
    pub fn skip_when_busy(self, skip: bool) -> Self {
        Self {
            skips_busy: skip,
            ..self
        }
    }

    /// Shares the checks with the probes of the other replicas of a [fleet](crate::fleet). Default: each replica makes its own
    /// checks.
    ///
    /// In each interval, one replica checks a provider, and the others apply the result. Replicas share a check if it has the
    /// same [depth](Check::functional) and the same interval on each. While a replica cannot reach the store, it makes its own
    /// checks.
    ///
    /// Failed checks of one replica alone open no breaker of another, except with
    /// [`Share::Trust`](crate::fleet::Share::Trust). After a failed check, a second replica makes its own check to confirm it.
    ///
    /// ```
    /// # use tower_health::{HealthCache, HealthProbe, fleet::{Fleet, MemoryStore}};
    /// # async fn ping() -> bool { true }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let cache = HealthCache::default();
    /// let fleet = Fleet::new(&cache, MemoryStore::default()).spawn();
    /// let probe = HealthProbe::new(&cache).check("search", ping).fleet(&fleet).spawn();
    /// # drop(probe);
    /// # }
    /// ```
    #[cfg(feature = "fleet")]
    pub fn fleet(self, fleet: &crate::fleet::FleetHandle) -> Self {
        Self {
            sharing: Sharing::with(fleet.checks()),
            ..self
        }
    }

    /// Adds a [reachability](Check::new) check for provider `id`, and registers the provider in the cache.
    ///
    /// A provider has one check; a later one replaces it.
    pub fn check<F, Fut>(self, id: impl Into<Arc<str>>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: CheckResult,
    {
        self.check_with(id, Check::new(check))
    }

    /// Adds a [`Check`] for provider `id`, and registers the provider in the cache.
    ///
    /// A provider has one check; a later one replaces it.
    pub fn check_with(mut self, id: impl Into<Arc<str>>, check: impl Into<Check>) -> Self {
        let id = id.into();
        if let Some(cache) = self.cache.upgrade() {
            let _ = cache.provider(Arc::clone(&id));
        }
        self.checks.insert(id, check.into());
        self
    }

    /// Returns the provider, unless it was removed or the cache was dropped.
    pub(super) fn provider(&self, id: &str) -> Option<Provider> {
        self.cache.upgrade()?.get(id)
    }

    /// Returns whether to check this provider at this turn.
    pub(super) fn takes_turn(&self, id: &str) -> bool {
        let Some(provider) = self.provider(id) else {
            return false;
        };
        let is_closed = provider.health().state == State::Closed;
        let is_skipped_if_closed =
            self.scope == Scope::Suspect || (self.skips_busy && provider.take_live_proof());
        !(is_closed && is_skipped_if_closed)
    }

    /// Returns the time until this provider's next turn, with jitter.
    pub(super) fn pause(&self, id: &str) -> Duration {
        let spread = 1.0 + self.jitter * (2.0 * random() - 1.0);
        self.interval_of(id).mul_f64(spread)
    }

    pub(super) fn interval_of(&self, id: &str) -> Duration {
        let own = self.checks.get(id).and_then(|check| check.interval);
        own.unwrap_or(self.interval).min(FAR)
    }

    /// Returns the delay of a provider's first turn: zero, unless there are more checks than may run at once.
    pub(super) fn first_pause(&self) -> Duration {
        if self.checks.len() > self.concurrency {
            self.interval.min(FAR).mul_f64(self.jitter * random())
        } else {
            Duration::ZERO
        }
    }
}
