//! Replicas of one fleet, in paused time, around a store in memory that can fail.

mod attacks;
mod checks;
mod outages;
mod overrides;
mod store;
mod throttles;
mod trials;

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::sleep;
use tower_health::{
    BoxError, Cause, HealthCache, Policy, Provider, State, Throttle,
    fleet::{Fleet, FleetHandle, MemoryStore, Reply, Request, Share, Store},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Longest time until a change of one replica reaches the others: their next poll, which can be a tenth late, and a moment.
const POLL: Duration = Duration::from_millis(1_200);

/// Longest time until a failure opens a warned breaker.
const PATIENCE: Duration = Duration::from_millis(3_400);

/// A process with one provider.
struct Replica {
    cache: HealthCache,
    provider: Provider,
    fleet: FleetHandle,
}

impl Replica {
    fn of(fleet: impl FnOnce(&HealthCache) -> Fleet<FaultyStore>) -> Self {
        Self::with(Policy::new(), fleet)
    }

    fn with(policy: Policy, fleet: impl FnOnce(&HealthCache) -> Fleet<FaultyStore>) -> Self {
        let policy = policy.throttle(Throttle::default().jitter(0.0));
        let cache = HealthCache::new(policy);
        let provider = cache.provider("a");
        let fleet = fleet(&cache).spawn();
        Self {
            cache,
            provider,
            fleet,
        }
    }

    fn fail(&self) {
        let permit = self.provider.admit().expect("admits a call");
        permit.failure("timeout");
    }

    fn succeed(&self) {
        self.provider.admit().expect("admits a call").success();
    }

    fn trip(&self) {
        self.fail();
        self.fail();
        assert_eq!(self.state(), State::Open);
    }

    fn state(&self) -> State {
        self.provider.health().state
    }

    fn cause(&self) -> Option<Cause> {
        self.provider.health().cause
    }

    fn retry_in(&self) -> Duration {
        self.provider.health().retry_in.unwrap_or_default()
    }
}

/// Replicas with the default policy that have reached the store.
async fn replicas<const N: usize>(share: Share) -> ([Replica; N], FaultyStore) {
    replicas_with(&Policy::new(), share).await
}

/// Replicas that have reached the store.
async fn replicas_with<const N: usize>(
    policy: &Policy,
    share: Share,
) -> ([Replica; N], FaultyStore) {
    let store = FaultyStore::default();
    let fleet = |cache: &_| Fleet::new(cache, store.clone()).share(share);
    let replicas = [(); N].map(|()| Replica::with(policy.clone(), fleet));
    sleep(POLL).await;
    (replicas, store)
}

/// A store in memory that fails on demand.
#[derive(Clone, Default)]
struct FaultyStore {
    memory: MemoryStore,
    fault: Arc<Mutex<Fault>>,
    exchanges: Arc<AtomicUsize>,
    /// The keys of all leases that were given back.
    released: Arc<Mutex<Vec<String>>>,
    /// The keys of all writes so far.
    written: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Fault {
    #[default]
    None,
    Frozen,
    Refusing,
    Panicking,
    /// Applies requests, but the replies lack the results of lease requests.
    Truncated,
    Slow(Duration),
    /// Applies requests, but the replies are lost.
    Mute,
}

impl FaultyStore {
    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn writes_of(&self, part: &str) -> usize {
        let written = self.written.lock().unwrap();
        written.iter().filter(|key| key.contains(part)).count()
    }
}

impl Store for FaultyStore {
    async fn exchange(&self, request: &Request) -> Result<Reply, BoxError> {
        self.exchanges.fetch_add(1, SeqCst);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None | Fault::Truncated | Fault::Mute => {}
            Fault::Frozen => pending().await,
            Fault::Refusing => return Err("connection refused".into()),
            Fault::Panicking => panic!("a bug in the store"),
            Fault::Slow(delay) => sleep(delay).await,
        }
        let keys = request.releases.iter().map(|lease| lease.key.clone());
        self.released.lock().unwrap().extend(keys);
        let keys = request.writes.iter().map(|write| write.key.clone());
        self.written.lock().unwrap().extend(keys);
        let mut reply = self.memory.exchange(request).await?;
        if matches!(fault, Fault::Truncated) {
            reply.granted.clear();
        }
        if matches!(fault, Fault::Mute) {
            pending::<()>().await;
        }
        Ok(reply)
    }
}
