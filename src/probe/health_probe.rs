use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::check::{Check, CheckResult};
use crate::{
    cache::{HealthCache, Provider, WeakCache},
    util::{
        settings::{at_least_one, positive},
        time::{FAR, random},
    },
    view::State,
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
    pub(super) cache: WeakCache,
    pub(super) checks: BTreeMap<Arc<str>, Check>,
    interval: Duration,
    pub(super) timeout: Duration,
    jitter: f64,
    pub(super) concurrency: usize,
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

    /// The provider, unless it or the whole cache is gone.
    pub(super) fn provider(&self, id: &str) -> Option<Provider> {
        self.cache.upgrade()?.get(id)
    }

    /// Whether this provider is to be checked, now that its turn has come.
    pub(super) fn takes_turn(&self, id: &str) -> bool {
        let Some(provider) = self.provider(id) else {
            return false;
        };
        let is_closed = provider.health().state == State::Closed;
        let is_spared = self.scope == Scope::Suspect
            || (self.skips_busy
                && provider
                    .breaker()
                    .update(|breaker, _| breaker.take_live_proof()));
        !(is_closed && is_spared)
    }

    /// The time between two turns of this provider, a bit of it left to chance.
    pub(super) fn pause(&self, id: &str) -> Duration {
        let own = self.checks.get(id).and_then(|check| check.interval);
        let spread = 1.0 + self.jitter * (2.0 * random() - 1.0);
        own.unwrap_or(self.interval).min(FAR).mul_f64(spread)
    }

    /// How long the first turn of a provider waits: only many checks are spread.
    pub(super) fn first_pause(&self) -> Duration {
        if self.checks.len() > self.concurrency {
            self.interval.min(FAR).mul_f64(self.jitter * random())
        } else {
            Duration::ZERO
        }
    }
}
