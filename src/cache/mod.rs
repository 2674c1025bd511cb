//! The registry of all providers and their breakers.
//!
//! [`HealthCache`] finds or creates the breaker of an id, and [`Provider`] is a handle to it. Named providers stay until they are
//! removed. Providers of keyed layers and of restored snapshots are limited: `eviction` chooses which one a new provider
//! replaces, and `id` shortens long ids. [`Snapshot`] is a copy of every provider's health, and [`Transitions`] a subscription to
//! changes. No foreign code runs under the registry's lock; a breaker announces its own changes when it is read, so it is read
//! after the lock is released.

mod eviction;
mod id;
mod provider;
mod snapshot;
mod transitions;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, Weak},
};

use tokio::{sync::watch, time::Instant};

#[cfg(feature = "http")]
pub(crate) use self::id::LONGEST;
#[cfg(feature = "fleet")]
pub(crate) use self::provider::WeakProvider;
use self::{eviction::KeyedBreakers, id::bounded};
pub use self::{provider::Provider, snapshot::Snapshot, transitions::Transitions};
#[cfg(feature = "status")]
use crate::telemetry::LogView;
use crate::{
    breaker::{Breaker, Listeners, SharedBreaker},
    policy::Policy,
    telemetry::Meters,
    util::sync::RwLock,
    view::ProviderHealth,
};

/// Number of providers not requested by name from which `restore` creates no more.
const MAX_RESTORED: usize = 10_000;

/// The health of every provider, shared by layers, probes, chains and status pages.
///
/// Create it first, and pass its [providers](Self::provider) to the layers that call them. It is a cheap handle: all clones share
/// one cache.
///
/// ```
/// use tower_health::HealthCache;
///
/// let cache = HealthCache::default();
/// let groq = cache.provider("groq");
///
/// assert!(groq.is_healthy());
/// groq.mark_unhealthy("connection refused");
/// groq.mark_unhealthy("connection refused");
/// assert!(!cache.is_healthy("groq"));
/// ```
#[derive(Clone)]
pub struct HealthCache {
    registry: Arc<Registry>,
}

/// A weak handle for tasks that end when the cache is dropped.
#[derive(Clone, Debug)]
pub(crate) struct WeakCache {
    registry: Weak<Registry>,
    gone: watch::Receiver<()>,
}

struct Registry {
    breakers: RwLock<Breakers>,
    listeners: Arc<Listeners>,
    /// Shared by all providers of keyed layers.
    keyed_meters: OnceLock<Meters>,
    alive: watch::Sender<()>,
}

struct Breakers {
    /// The policy of providers without their own.
    policy: Arc<Policy>,
    /// Providers requested by name. They stay until they are removed.
    named: BTreeMap<Arc<str>, Arc<SharedBreaker>>,
    /// Providers of keyed layers and of restored snapshots. They can be evicted, and their ids are [bounded](id::bounded).
    keyed: KeyedBreakers,
}

impl HealthCache {
    /// Creates an empty cache. Its providers use `policy`, unless they have their own.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            registry: Arc::new(Registry {
                breakers: RwLock::new(Breakers {
                    policy: Arc::new(policy),
                    named: BTreeMap::new(),
                    keyed: KeyedBreakers::default(),
                }),
                listeners: Arc::default(),
                keyed_meters: OnceLock::new(),
                alive: watch::Sender::new(()),
            }),
        }
    }

    /// Returns the provider with this id, and creates it if it is unknown. A new provider is closed and healthy.
    ///
    /// It stays in the cache until it is [removed](Self::remove). This is also true for a provider that a
    /// [keyed layer](crate::KeyedHealthLayer) created: it can no longer be evicted.
    #[must_use]
    pub fn provider(&self, id: impl Into<Arc<str>>) -> Provider {
        let id = id.into();
        let known = self.read(|breakers| breakers.named.get(&id).cloned());
        Provider::new(known.unwrap_or_else(|| self.add_named(id)))
    }

    fn add_named(&self, id: Arc<str>) -> Arc<SharedBreaker> {
        let mut is_new = false;
        let mut shortened = None;
        let breaker = self.write(|breakers| {
            let Breakers {
                policy,
                named,
                keyed,
            } = breakers;
            let breaker = named.entry(id).or_insert_with_key(|id| {
                is_new = true;
                match keyed.remove(&bounded(id)) {
                    Some(known) if known.id() == id => known,
                    known => {
                        shortened = known;
                        self.new_cell(Arc::clone(id), policy)
                    }
                }
            });
            Arc::clone(breaker)
        });
        if is_new {
            breaker.meter(&Meters::of(breaker.id()));
        }
        if let Some(shortened) = shortened {
            // A named id is never shortened, so the long id gets a breaker of its own, with the same health. Keyed layers then
            // request it again.
            shortened.mark_removed();
            shortened.unmeter();
            let row = shortened.health();
            breaker.update(|breaker, now| breaker.restore(&row, now));
        }
        breaker
    }

    /// Returns the provider of a request's key. A new one evicts another if there are already `bound` of them.
    pub(crate) fn keyed_provider(&self, key: &str, bound: usize) -> Provider {
        let known = self.read(|breakers| breakers.get(key).cloned());
        Provider::new(match known {
            Some(breaker) => {
                breaker.touch();
                breaker
            }
            None => self.add_keyed(key, |keyed, breaker| keyed.insert(breaker, bound)),
        })
    }

    fn add_keyed(
        &self,
        key: &str,
        insert: impl FnOnce(&mut KeyedBreakers, Arc<SharedBreaker>) -> Vec<Arc<SharedBreaker>>,
    ) -> Arc<SharedBreaker> {
        let mut is_new = false;
        let (breaker, evicted) = self.write(|breakers| {
            // Another thread may have added it meanwhile.
            if let Some(breaker) = breakers.get(key) {
                return (Arc::clone(breaker), Vec::new());
            }
            is_new = true;
            let breaker = self.new_cell(bounded(key).into(), &breakers.policy);
            let evicted = insert(&mut breakers.keyed, Arc::clone(&breaker));
            (breaker, evicted)
        });
        if is_new {
            breaker.meter_if_none(self.keyed_meters());
        }
        for evicted in evicted {
            evicted.unmeter();
        }
        breaker
    }

    fn keyed_meters(&self) -> &Meters {
        let meters = &self.registry.keyed_meters;
        meters.get().unwrap_or_else(|| {
            // Created outside `get_or_init`, because a recorder may call back into this crate.
            let made = Meters::of_keyed();
            meters.get_or_init(|| made)
        })
    }

    /// Returns a provider outside the cache, for calls that no breaker counts.
    pub(crate) fn nobody(&self) -> Provider {
        Provider::new(self.new_cell("".into(), &self.shared_policy()))
    }

    /// Creates a breaker. To be added to the cache, it must be created under the registry's lock, or it could miss a new policy.
    fn new_cell(&self, id: Arc<str>, policy: &Arc<Policy>) -> Arc<SharedBreaker> {
        let listeners = Arc::clone(&self.registry.listeners);
        SharedBreaker::new(id, Arc::clone(policy), listeners)
    }

    /// Returns the policy of providers without their own.
    pub fn policy(&self) -> Policy {
        Policy::clone(&self.shared_policy())
    }

    fn shared_policy(&self) -> Arc<Policy> {
        self.read(|breakers| Arc::clone(&breakers.policy))
    }

    /// Sets the policy of all present and future providers, including those of keyed layers.
    ///
    /// A provider keeps its own policy if it has one, by [`provider_with`](Self::provider_with) or [`Provider::set_policy`].
    /// States do not change: an open window ends when it would have. A handle of a [removed](Self::remove) provider keeps its
    /// policy.
    ///
    /// ```
    /// use tower_health::{HealthCache, Policy, Trip};
    ///
    /// let cache = HealthCache::default();
    /// let groq = cache.provider("groq");
    /// let local = cache.provider_with("local", Policy::new().trip(Trip::consecutive(1)));
    ///
    /// // The configuration was reloaded.
    /// cache.set_policy(Policy::new().trip(Trip::consecutive(5)));
    /// assert_eq!(groq.policy(), cache.policy());
    /// assert_eq!(cache.provider("new").policy(), cache.policy());
    /// assert_ne!(local.policy(), cache.policy());
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        let mut policy = Arc::new(policy);
        self.write(|breakers| breakers.policy = Arc::clone(&policy));
        loop {
            // Outside the lock, because a breaker announces its changes when it is updated.
            for breaker in self.breakers() {
                breaker.update(|breaker, now| breaker.follow_policy(Arc::clone(&policy), now));
            }
            // Another thread may have set its policy meanwhile, and this loop may have overwritten it in some providers.
            let latest = self.shared_policy();
            if Arc::ptr_eq(&latest, &policy) {
                return;
            }
            policy = latest;
        }
    }

    /// Returns the provider with this id, and sets its own policy. A known provider keeps its state.
    ///
    /// [`HealthCache::set_policy`](Self::set_policy) no longer changes its policy.
    #[must_use]
    pub fn provider_with(&self, id: impl Into<Arc<str>>, policy: Policy) -> Provider {
        let provider = self.provider(id);
        provider.set_policy(policy);
        provider
    }

    /// Returns the provider with this id, if it is known.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Provider> {
        self.read(|breakers| breakers.get(id).cloned())
            .map(Provider::new)
    }

    /// Returns whether a call to this provider would be admitted now. An unknown provider is healthy, and is not created.
    #[must_use]
    pub fn is_healthy(&self, id: &str) -> bool {
        self.read(|breakers| breakers.get(id).cloned())
            .is_none_or(|breaker| breaker.is_healthy())
    }

    /// Returns a copy of every known provider's health. The rows are taken one after another, not at one instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let providers = self
            .breakers()
            .iter()
            .map(|breaker| breaker.health())
            .collect();
        Snapshot {
            // Taken last, so that no row is newer.
            at: Instant::now(),
            providers,
        }
    }

    /// Returns a [`snapshot`](Self::snapshot) that also has a row for each unknown `expected` id, so that its shape is stable.
    ///
    /// The row of an unknown provider is healthy with all counts zero. The provider is not created.
    #[must_use]
    pub fn snapshot_of<I>(&self, expected: I) -> Snapshot
    where
        I: IntoIterator,
        I::Item: Into<Arc<str>>,
    {
        let mut snapshot = self.snapshot();
        let rows = expected.into_iter().map(Into::into);
        snapshot.providers.extend(rows.map(ProviderHealth::unknown));
        // A stable sort, so that the real row of an id comes before the placeholder.
        snapshot
            .providers
            .sort_by(|one, other| one.id.cmp(&other.id));
        snapshot
            .providers
            .dedup_by(|later, first| later.id == first.id);
        snapshot
    }

    /// Restores the open windows and the overrides of a snapshot, so that a new process does not call providers that were down.
    ///
    /// Each lasts for the time that remained when the snapshot was taken. The time since then is not deducted, because the
    /// processes share only the wall clock, which can jump.
    ///
    /// | row | provider after the restore |
    /// |---|---|
    /// | open, and the breaker [only observes](crate::Policy::observe_only) | half-open |
    /// | open | open for [`retry_in`](ProviderHealth::retry_in), limited by its own [policy](crate::Policy), and at least for [`not_before`](ProviderHealth::not_before); the backoff continues from [`failed_trials`](ProviderHealth::failed_trials) |
    /// | half-open | half-open, with no trial in flight |
    /// | forced | forced for [`forced_for`](ProviderHealth::forced_for), at most 7 days; the state beneath the override is not restored |
    /// | closed | unchanged: failures that had not opened the breaker are not restored, and an unknown provider is not created |
    ///
    /// A provider keeps its state if this cache has already recorded a result, an override or a change of state for it. Set
    /// providers' own policies before the restore.
    ///
    /// Changes of state are [announced](Self::subscribe), with the times of the snapshot. If `failed_trials` is not 0, a
    /// reachability check does not end the open window early.
    ///
    /// An unknown provider is created like one of a [keyed layer](crate::KeyedHealthLayer): its id may be shortened, and it may be
    /// evicted until it is [requested by name](Self::provider). While the cache has 10,000 such providers, rows of unknown
    /// providers are skipped.
    ///
    /// ```
    /// # use tower_health::HealthCache;
    /// let before = HealthCache::default();
    /// before.provider("groq").mark_unhealthy("down");
    /// before.provider("groq").mark_unhealthy("down");
    ///
    /// // With feature `serde`, a snapshot can be written to a file and read by the next process.
    /// let cache = HealthCache::default();
    /// cache.restore(&before.snapshot());
    /// assert!(!cache.is_healthy("groq"));
    /// ```
    pub fn restore(&self, snapshot: &Snapshot) {
        let since_then = Instant::now().saturating_duration_since(snapshot.at);
        for row in &snapshot.providers {
            if let Some(breaker) = self.restored(row) {
                let row = row.clone().later(since_then);
                breaker.update(|breaker, now| breaker.restore(&row, now));
            }
        }
    }

    /// Returns the breaker to restore a row to, if there is one.
    fn restored(&self, row: &ProviderHealth) -> Option<Arc<SharedBreaker>> {
        let (known, has_room) = self.read(|breakers| {
            let known = breakers.get(&row.id).cloned();
            (known, breakers.keyed.len() < MAX_RESTORED)
        });
        // A new provider is evictable until it is requested by name, because it may never be.
        let add = || {
            self.add_keyed(&row.id, |keyed, breaker| {
                keyed.insert_restored(breaker);
                Vec::new()
            })
        };
        known.or_else(|| (has_room && Breaker::is_restored_by(row)).then(add))
    }

    /// Subscribes to all transitions from now on, of present and future providers.
    pub fn subscribe(&self) -> Transitions {
        Transitions::new(self.registry.listeners.transitions.subscribe())
    }

    /// Removes a provider. Existing handles still work, on a breaker that is no longer in the cache. A later request for this id
    /// creates a new provider.
    pub fn remove(&self, id: &str) {
        let removed = self.write(|breakers| breakers.remove(id));
        // Outside the lock, because a recorder is foreign code.
        if let Some(removed) = removed {
            removed.unmeter();
        }
    }

    /// [Removes](Self::remove) all providers but those whose id `keep` returns true for.
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) {
        for provider in self.providers() {
            if !keep(provider.id()) {
                self.remove(provider.id());
            }
        }
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = Provider> + use<> {
        self.breakers().into_iter().map(Provider::new)
    }

    #[cfg(feature = "status")]
    pub(crate) fn len(&self) -> usize {
        self.read(|breakers| breakers.named.len() + breakers.keyed.iter().len())
    }

    /// Returns all breakers by id. The caller reads them outside the registry's lock, because a breaker announces its changes when
    /// it is read.
    fn breakers(&self) -> Vec<Arc<SharedBreaker>> {
        let mut breakers: Vec<_> = self.read(|breakers| breakers.all().cloned().collect());
        breakers.sort_by(|one, other| one.id().cmp(other.id()));
        breakers
    }

    /// Returns the logs of named chains.
    #[cfg(feature = "status")]
    pub(crate) fn chains(&self) -> Vec<LogView> {
        self.registry.listeners.chains.views()
    }

    /// Notified when an override moves the time of a state's next change without a transition.
    pub(crate) fn overrides(&self) -> watch::Receiver<()> {
        self.registry.listeners.overrides.subscribe()
    }

    /// Notified when a breaker should ask or inform its fleet before the next poll.
    #[cfg(feature = "fleet")]
    pub(crate) fn syncs(&self) -> watch::Receiver<()> {
        self.registry.listeners.syncs.subscribe()
    }

    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache {
            registry: Arc::downgrade(&self.registry),
            gone: self.registry.alive.subscribe(),
        }
    }

    fn write<R>(&self, change: impl FnOnce(&mut Breakers) -> R) -> R {
        let breakers = self.registry.breakers.write();
        change(&mut breakers.unwrap_or_else(PoisonError::into_inner))
    }

    fn read<R>(&self, look: impl FnOnce(&Breakers) -> R) -> R {
        let breakers = self.registry.breakers.read();
        look(&breakers.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Breakers {
    fn get(&self, id: &str) -> Option<&Arc<SharedBreaker>> {
        let keyed = || self.keyed.get(&bounded(id));
        self.named.get(id).or_else(keyed)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<SharedBreaker>> {
        self.named.values().chain(self.keyed.iter())
    }

    fn remove(&mut self, id: &str) -> Option<Arc<SharedBreaker>> {
        let removed = self.named.remove(id);
        let removed = removed.or_else(|| self.keyed.remove(&bounded(id)))?;
        removed.mark_removed();
        Some(removed)
    }
}

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<HealthCache> {
        let registry = self.registry.upgrade()?;
        Some(HealthCache { registry })
    }

    /// Completes when the last handle of the cache is dropped.
    pub(crate) async fn gone(&mut self) {
        // Nothing is ever sent, so the error means that the sender was dropped.
        let _ = self.gone.changed().await;
    }
}

/// Creates a cache with the default [`Policy`].
impl Default for HealthCache {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl fmt::Debug for HealthCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers = self.snapshot().providers;
        f.debug_struct("HealthCache")
            .field("providers", &providers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
