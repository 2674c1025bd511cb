use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    handle::FleetHandle,
    settings::{Settings, Share},
    store::Store,
    task::SyncTask,
};
use crate::{
    cache::{HealthCache, WeakCache},
    util::{panics::with_safe_waker, settings::positive},
};

/// Longest setting, which can be multiplied without an overflow.
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

    /// Sets this replica's name, by which status pages show it. It must be unique in the fleet. Default: a random name.
    ///
    /// # Panics
    ///
    /// If the name is empty, is longer than 128 bytes, or contains `/`.
    #[track_caller]
    pub fn replica(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.names.replica = valid("Fleet::replica", name.into());
        self
    }

    /// Sets the effect of other replicas' failures on this one's closed breakers. Default: [`Share::Advise`].
    pub fn share(mut self, share: Share) -> Self {
        self.settings.share = share;
        self
    }

    /// Sets the name of the quota that this replica uses, such as an account. Default: `default`.
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

    /// Sets the time between two exchanges with the store, up to a tenth more or less. Default: 1 s.
    ///
    /// Changes of this replica, and requests for a lease, are exchanged at once, but not more often than every 50 ms.
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = positive("Fleet::poll_interval", interval).min(LONGEST);
        self
    }

    /// Sets the maximum duration of an exchange. After that, the replica goes on without the store until it answers. Default: 1 s.
    ///
    /// # Panics
    ///
    /// If `timeout` is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = positive("Fleet::timeout", timeout);
        self
    }

    /// Sets how long a replica has the lease for the trials of a half-open provider. Default: 15 s.
    ///
    /// After that, another replica may send a trial, even if the first is still in flight. All replicas should have the same
    /// setting: those with another one do not share the lease.
    ///
    /// # Panics
    ///
    /// If `ttl` is zero.
    #[track_caller]
    pub fn trial_lease(mut self, ttl: Duration) -> Self {
        self.settings.trial_lease = positive("Fleet::trial_lease", ttl);
        self
    }

    /// Sets how long a half-open provider waits for the lease, from the first call that needs it. After that, this replica sends
    /// trials without it. Default: 60 s, and up to half as long again at random.
    ///
    /// It matters only while the store can be reached: without the store, no lease is needed.
    ///
    /// # Panics
    ///
    /// If `wait` is zero.
    #[track_caller]
    pub fn trial_wait(mut self, wait: Duration) -> Self {
        self.settings.trial_wait = positive("Fleet::trial_wait", wait).min(LONGEST);
        self
    }

    /// Sets whether an operator's [override](crate::Provider::force) holds on all replicas with this setting, and whether it can be
    /// lifted on any. Default: false.
    pub fn share_overrides(mut self, share: bool) -> Self {
        self.settings.shares_overrides = share;
        self
    }

    /// Sets whether other replicas' status pages show this replica's providers. Default: false.
    ///
    /// The ids and states of unhealthy providers are then in the store, at most 256 of them.
    pub fn share_health(mut self, share: bool) -> Self {
        self.settings.shares_health = share;
        self
    }

    /// Spawns the task that exchanges with the store.
    ///
    /// It ends when the last [`HealthCache`] is dropped, when the last handle is dropped, or by [`FleetHandle::stop`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with timers.
    pub fn spawn(self) -> FleetHandle {
        let (stop, mut stopped) = watch::channel(false);
        let (running, ended) = watch::channel(());
        let (commands, received) = mpsc::unbounded_channel();
        let (handle, view) = FleetHandle::new(stop, ended, commands, &self.settings);
        let task = SyncTask::new(self.store, self.cache, self.settings, received, view);
        tokio::spawn(async move {
            let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
            with_safe_waker(task.run(stop)).await;
            drop(running);
        });
        handle
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
