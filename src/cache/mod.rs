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
use self::{eviction::KeyedBreakers, id::bounded};
pub use self::{provider::Provider, snapshot::Snapshot, transitions::Transitions};
use crate::{
    breaker::{Breaker, Listeners, SharedBreaker},
    policy::Policy,
    telemetry::Meters,
    util::sync::RwLock,
    view::ProviderHealth,
};

/// With so many providers that nobody has asked for by name, no new ones are restored.
const MAX_RESTORED: usize = 10_000;

/// The health of every provider: the one thing that layers, probes, chains and status pages share.
///
/// A cheap handle: a clone is the same cache. Make it first, and hand its
/// [providers](Self::provider) to whatever calls them.
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

/// What a task holds that must end with the last cache.
#[derive(Clone, Debug)]
pub(crate) struct WeakCache {
    registry: Weak<Registry>,
    gone: watch::Receiver<()>,
}

struct Registry {
    breakers: RwLock<Breakers>,
    listeners: Arc<Listeners>,
    /// Of all that keyed layers make.
    keyed_meters: OnceLock<Meters>,
    alive: watch::Sender<()>,
}

struct Breakers {
    /// The rules of those that are not given rules of their own.
    policy: Arc<Policy>,
    /// Those that were asked for by name: they stay until they are removed.
    named: BTreeMap<Arc<str>, Arc<SharedBreaker>>,
    /// Those that only keyed layers have asked for, or that were only restored: others take their places. Their
    /// ids are [bounded](id::bounded).
    keyed: KeyedBreakers,
}

impl HealthCache {
    /// Creates an empty cache, whose providers follow `policy` unless they are given one of their own.
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

    /// The provider of this id; closed and well, where it is new. It stays until it is
    /// [removed](Self::remove), also where a [keyed layer](crate::KeyedHealthLayer) had made it.
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
            // Names of the application are kept as they are, and who has the other asks again.
            shortened.forget();
            shortened.unmeter();
            let row = shortened.health();
            breaker.update(|breaker, now| breaker.restore(&row, now));
        }
        breaker
    }

    /// The provider of a request's key. Where it is new, and keyed layers have made `bound` others,
    /// it takes the place of one of them.
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
            // Somebody may have been faster.
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
            // Made outside, for a recorder may come back here.
            let made = Meters::of_keyed();
            meters.get_or_init(|| made)
        })
    }

    /// A provider that is not known, nor will be: that of calls which nobody judges.
    pub(crate) fn nobody(&self) -> Provider {
        Provider::new(self.new_cell("".into(), &self.shared_policy()))
    }

    /// Under the registry's lock, where it is to be known: a policy that is set meanwhile is then its own too.
    fn new_cell(&self, id: Arc<str>, policy: &Arc<Policy>) -> Arc<SharedBreaker> {
        let listeners = Arc::clone(&self.registry.listeners);
        SharedBreaker::new(id, Arc::clone(policy), listeners)
    }

    /// Returns the rules of the providers that were not given rules of their own.
    pub fn policy(&self) -> Policy {
        Policy::clone(&self.shared_policy())
    }

    fn shared_policy(&self) -> Arc<Policy> {
        self.read(|breakers| Arc::clone(&breakers.policy))
    }

    /// Changes the rules of every provider that was not given rules of its own, by [`provider_with`](Self::provider_with) or
    /// [`Provider::set_policy`]: of those that are known, those of keyed layers among them, and of those to come.
    ///
    /// Each keeps its state: an open window ends when it would have. A handle of a provider that was
    /// [removed](Self::remove) keeps its rules.
    ///
    /// ```
    /// use tower_health::{HealthCache, Policy, Trip};
    ///
    /// let cache = HealthCache::default();
    /// let groq = cache.provider("groq");
    /// let local = cache.provider_with("local", Policy::new().trip(Trip::consecutive(1)));
    ///
    /// // The configuration was read anew.
    /// cache.set_policy(Policy::new().trip(Trip::consecutive(5)));
    /// assert_eq!(groq.policy(), cache.policy());
    /// assert_eq!(cache.provider("new").policy(), cache.policy());
    /// assert_ne!(local.policy(), cache.policy());
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        let mut policy = Arc::new(policy);
        self.write(|breakers| breakers.policy = Arc::clone(&policy));
        loop {
            // Outside the lock, for a breaker announces what it finds.
            for breaker in self.breakers() {
                breaker.update(|breaker, now| breaker.follow_policy(Arc::clone(&policy), now));
            }
            // Another may have set its policy meanwhile, and some providers have got this one after it.
            let latest = self.shared_policy();
            if Arc::ptr_eq(&latest, &policy) {
                return;
            }
            policy = latest;
        }
    }

    /// Returns the provider of this id, with rules of its own; one that is known keeps its state.
    /// [`set_policy`](Self::set_policy) no longer changes its rules.
    #[must_use]
    pub fn provider_with(&self, id: impl Into<Arc<str>>, policy: Policy) -> Provider {
        let provider = self.provider(id);
        provider.set_policy(policy);
        provider
    }

    /// The provider of this id, if it is known. Creates nothing.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Provider> {
        self.read(|breakers| breakers.get(id).cloned())
            .map(Provider::new)
    }

    /// Whether a call to this provider would be admitted now. One that is unknown is healthy, and
    /// stays unknown.
    #[must_use]
    pub fn is_healthy(&self, id: &str) -> bool {
        self.read(|breakers| breakers.get(id).cloned())
            .is_none_or(|breaker| breaker.is_healthy())
    }

    /// The health of every known provider, as a copy. Each row is true at its own instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let providers = self
            .breakers()
            .iter()
            .map(|breaker| breaker.health())
            .collect();
        Snapshot {
            // Last, so that nothing in it is of later.
            at: Instant::now(),
            providers,
        }
    }

    /// A [`snapshot`](Self::snapshot) with a row for each of the `expected` ids, so that its shape
    /// is stable: one that is unknown is healthy, with all counts zero, and stays unknown.
    #[must_use]
    pub fn snapshot_of<I>(&self, expected: I) -> Snapshot
    where
        I: IntoIterator,
        I::Item: Into<Arc<str>>,
    {
        let mut snapshot = self.snapshot();
        let rows = expected.into_iter().map(Into::into);
        snapshot.providers.extend(rows.map(ProviderHealth::unknown));
        // Stable, so that of two rows of one id the real one comes first.
        snapshot
            .providers
            .sort_by(|one, other| one.id.cmp(&other.id));
        snapshot
            .providers
            .dedup_by(|later, first| later.id == first.id);
        snapshot
    }

    /// Takes over the open windows and the overrides of a snapshot: for the start of a process, so that what was
    /// down before is not found out anew.
    ///
    /// Each lasts for as long as was left of it at the time of the snapshot. What has passed since is not deducted:
    /// two processes share no clock but the wall's, which jumps. All is as if it had stood still meanwhile.
    ///
    /// | a row that is | makes the provider |
    /// |---|---|
    /// | open, of a breaker that [only observes](crate::Policy::observe_only) | half-open |
    /// | open | open for [`retry_in`](ProviderHealth::retry_in), but no longer than its own [policy](crate::Policy) allows for; nothing ends the wait before [`not_before`](ProviderHealth::not_before); the backoff goes on from [`failed_trials`](ProviderHealth::failed_trials) |
    /// | half-open | half-open, with no trial under way |
    /// | forced | forced, for [`forced_for`](ProviderHealth::forced_for), but for 7 days at most; not what was beneath |
    /// | closed | what it was: failures that had not opened its breaker are forgotten, and a provider that this cache does not know stays unknown |
    ///
    /// Only what is untouched is restored: a provider of which anything has been heard in this cache, good or bad,
    /// keeps its state. Changes of state are [announced](Self::subscribe) as any other, with the age that
    /// they have in the snapshot. Where trials have failed, it counts as if it had been in this outage: a check for
    /// reachability no longer ends the wait. Give providers their own policies first.
    ///
    /// A provider that this cache does not know yet is created as one of a [keyed layer](crate::KeyedHealthLayer) is: a new
    /// key may evict it until it is [asked for by name](Self::provider), and its id is shortened in the same way. While the cache
    /// holds 10,000 providers of this kind, further rows of unknown providers are skipped.
    ///
    /// ```
    /// # use tower_health::HealthCache;
    /// let before = HealthCache::default();
    /// before.provider("groq").mark_unhealthy("down");
    /// before.provider("groq").mark_unhealthy("down");
    ///
    /// // With feature `serde`, a snapshot can be written to a file, and read in the next process.
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

    /// The provider that a row is to be restored to, if any.
    fn restored(&self, row: &ProviderHealth) -> Option<Arc<SharedBreaker>> {
        let (known, has_room) = self.read(|breakers| {
            let known = breakers.get(&row.id).cloned();
            (known, breakers.keyed.len() < MAX_RESTORED)
        });
        // Where it is new, it stays as one of a keyed layer would, until it is asked for by name: who will do so
        // is not known yet.
        let add = || {
            self.add_keyed(&row.id, |keyed, breaker| {
                keyed.insert_restored(breaker);
                Vec::new()
            })
        };
        known.or_else(|| (has_room && Breaker::is_restored_by(row)).then(add))
    }

    /// Every transition from now on, of every provider, present and to come.
    pub fn subscribe(&self) -> Transitions {
        Transitions::new(self.registry.listeners.transitions.subscribe())
    }

    /// Forgets a provider. Its handles go on working, on a breaker that the cache no longer knows;
    /// asked for again, it is a new one.
    pub fn remove(&self, id: &str) {
        let removed = self.write(|breakers| breakers.remove(id));
        // Outside the lock.
        if let Some(removed) = removed {
            removed.unmeter();
        }
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = Provider> + use<> {
        self.breakers().into_iter().map(Provider::new)
    }

    #[cfg(feature = "status")]
    pub(crate) fn len(&self) -> usize {
        self.read(|breakers| breakers.named.len() + breakers.keyed.iter().len())
    }

    /// A copy, in order, to be looked at outside the registry's lock: a breaker announces what it finds.
    fn breakers(&self) -> Vec<Arc<SharedBreaker>> {
        let mut breakers: Vec<_> = self.read(|breakers| breakers.all().cloned().collect());
        breakers.sort_by(|one, other| one.id().cmp(other.id()));
        breakers
    }

    /// Told whenever an override moves the next change of a state without a transition.
    pub(crate) fn overrides(&self) -> watch::Receiver<()> {
        self.registry.listeners.overrides.subscribe()
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
        removed.forget();
        Some(removed)
    }
}

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<HealthCache> {
        let registry = self.registry.upgrade()?;
        Some(HealthCache { registry })
    }

    /// Ends when the last cache is gone.
    pub(crate) async fn gone(&mut self) {
        // Nothing is ever sent: the only news is that the sender is gone.
        let _ = self.gone.changed().await;
    }
}

/// A cache with the default [`Policy`].
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
