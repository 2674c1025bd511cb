use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    handle::{FleetHandle, Shown},
    settings::{Settings, Share},
    store::Store,
    task::SyncTask,
};
use crate::{
    cache::{HealthCache, WeakCache},
    util::{panics::with_safe_waker, settings::positive, task::TaskHandle},
};

/// Longest time between two polls, so that each replica sees the results of checks, which are in the store for 10 s.
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// Maximum of a time setting, whose multiples do not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Shares the health of a cache's providers with other processes, through a [`Store`].
///
/// ```
/// use tower_health::{HealthCache, HealthProbe, fleet::{Fleet, MemoryStore, Share}};
///
/// # async fn ping() -> bool { true }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cache = HealthCache::default();
/// // In production, a store that other processes reach, such as `tower_health_redis::RedisStore`.
/// let store = MemoryStore::default();
///
/// let fleet = Fleet::new(&cache, store.clone()).spawn();
/// // One replica checks for all.
/// let probe = HealthProbe::new(&cache).check("search", ping).fleet(&fleet).spawn();
/// # drop(probe);
///
/// let customized = Fleet::new(&HealthCache::default(), store)
///     .replica("gateway-2")
///     .share(Share::Quorum)
///     .quota_scope("account-eu")
///     .share_overrides(true)
///     .share_health(true)
///     .spawn();
/// # drop(customized);
///
/// fleet.stop().await;
/// # }
/// ```
#[must_use = "a fleet does nothing until it is spawned"]
pub struct Fleet<S> {
    cache: WeakCache,
    store: S,
    settings: Settings,
}

impl<S: Store> Fleet<S> {
    /// Creates a fleet of all processes that use `store`. It does not keep `cache` alive.
    pub fn new(cache: &HealthCache, store: S) -> Self {
        Self {
            cache: cache.downgrade(),
            store,
            settings: Settings::default(),
        }
    }

    /// Sets this replica's name, which status pages and logs show. Default: a random name, which changes at each start.
    ///
    /// It must be unique in the fleet: replicas with the same name overwrite each other's rows and votes.
    ///
    /// # Panics
    ///
    /// If the name is empty, is longer than 128 bytes, or contains `/`.
    #[track_caller]
    pub fn replica(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.names.replica = valid("Fleet::replica", name.into());
        self
    }

    /// Sets the effect of other replicas' failures on this replica's closed breakers. Default: [`Share::Advise`].
    pub fn share(mut self, share: Share) -> Self {
        self.settings.share = share;
        self
    }

    /// Sets the name of the quota that this replica uses, for example the name of an account. Default: `default`.
    ///
    /// A [throttle](crate::Outcome::Throttled) opens the breakers of all replicas with the same quota scope.
    ///
    /// # Panics
    ///
    /// If the name is empty, is longer than 128 bytes, or contains `/`.
    #[track_caller]
    pub fn quota_scope(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.names.scope = valid("Fleet::quota_scope", name.into());
        self
    }

    /// Sets the time between two exchanges with the store, a *poll*. Default: 1 s. At random, it is up to a tenth longer or
    /// shorter.
    ///
    /// When a breaker of this replica opens or closes, or a lease is needed, the next exchange follows within 50 ms.
    ///
    /// # Panics
    ///
    /// If `interval` is zero, or longer than 5 s: the result of a check is in the store for 10 s.
    #[track_caller]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        let interval = positive("Fleet::poll_interval", interval);
        assert!(
            interval <= LONGEST_POLL,
            "`Fleet::poll_interval` must be at most {LONGEST_POLL:?}, got {interval:?}"
        );
        self.settings.poll_interval = interval;
        self
    }

    /// Sets the maximum duration of an exchange, after which it is cancelled and fails. Default: 1 s.
    ///
    /// After two failed exchanges in a row, the replica goes on alone until one succeeds.
    ///
    /// # Panics
    ///
    /// If `timeout` is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = positive("Fleet::timeout", timeout);
        self
    }

    /// Sets how long a replica keeps the lease for the trials of a half-open provider. Default: 15 s.
    ///
    /// After that, another replica may send a trial, even if the first is still in flight. Use a time that is longer than a usual
    /// call. A replica that has no call for it keeps the lease, or gives it back after 5 [polls](Self::poll_interval) if another replica
    /// waits for it.
    ///
    /// All replicas should have the same setting: replicas with different settings do not share the lease.
    ///
    /// # Panics
    ///
    /// If `ttl` is zero.
    #[track_caller]
    pub fn trial_lease(mut self, ttl: Duration) -> Self {
        self.settings.trial_lease = positive("Fleet::trial_lease", ttl);
        self
    }

    /// Sets how long a half-open breaker waits for the lease before it admits trials without it. Default: 60 s.
    ///
    /// The time counts from the first call that needs the lease. At random, it is up to half as long again: 60 to 90 s by
    /// default. The setting has no effect while the store cannot be reached, because no lease is needed then.
    ///
    /// # Panics
    ///
    /// If `wait` is zero.
    #[track_caller]
    pub fn trial_wait(mut self, wait: Duration) -> Self {
        self.settings.trial_wait = positive("Fleet::trial_wait", wait).min(LONGEST);
        self
    }

    /// Sets whether to share operators' [overrides](crate::Provider::force) with all replicas that have this setting. Default:
    /// false.
    ///
    /// An operator can lift a shared override on any of these replicas. Other replicas apply it for at most 7 days. Its reason is
    /// then in the store.
    pub fn share_overrides(mut self, share: bool) -> Self {
        self.settings.shares_overrides = share;
        self
    }

    /// Sets whether the status pages of all replicas show this replica's unhealthy providers. Default: false.
    ///
    /// The ids, states and causes of at most 256 unhealthy providers are then in the store.
    pub fn share_health(mut self, share: bool) -> Self {
        self.settings.shares_health = share;
        self
    }

    /// Spawns the task that exchanges with the store.
    ///
    /// The task ends when the last [`HealthCache`] handle is dropped, when the last [`FleetHandle`] is dropped, or by
    /// [`FleetHandle::stop`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime. The runtime must have timers.
    pub fn spawn(self) -> FleetHandle {
        let (commands, received) = mpsc::unbounded_channel();
        let shown = Shown::of(&self.settings);
        let sync = SyncTask::new(
            self.store,
            self.cache,
            self.settings,
            received,
            shown.clone(),
        );
        let task = TaskHandle::spawn(|stop| with_safe_waker(sync.run(stop.requested())));
        FleetHandle::new(task, commands, shown)
    }
}

#[track_caller]
fn valid(setting: &str, name: Arc<str>) -> Arc<str> {
    assert!(
        !name.is_empty() && name.len() <= 128 && !name.contains('/'),
        "`{setting}` must have 1 to 128 bytes without `/`, got {name:?}"
    );
    name
}

impl<S: fmt::Debug> fmt::Debug for Fleet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
