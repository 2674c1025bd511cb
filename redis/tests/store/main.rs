//! Replicas around a real server, on real sockets and in real time.

mod faults;
mod load;
mod network;
mod server;
mod sharing;

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower_health::{
    HealthCache, Policy, Provider, State, Throttle,
    fleet::{Fleet, FleetHandle, Share},
};
use tower_health_redis::RedisStore;

use self::server::Server;

const POLL: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

/// A replica with one provider, which polls every 100 ms.
struct Replica {
    provider: Provider,
    fleet: FleetHandle,
    /// Keeps the fleet running.
    _cache: HealthCache,
}

impl Replica {
    async fn join(url: &str, share: Share) -> Self {
        let replica = Self::start(url, |fleet| fleet.share(share));
        eventually("it is connected", || replica.is_connected()).await;
        replica
    }

    fn start(url: &str, settings: impl FnOnce(Fleet<RedisStore>) -> Fleet<RedisStore>) -> Self {
        let policy = Policy::new().throttle(Throttle::default().jitter(0.0));
        let cache = HealthCache::new(policy);
        let provider = cache.provider("a");
        let fleet = Fleet::new(&cache, RedisStore::open(url).unwrap()).poll_interval(POLL);
        let fleet = settings(fleet).spawn();
        Self {
            provider,
            fleet,
            _cache: cache,
        }
    }

    fn trip(&self) {
        for _ in 0..2 {
            self.provider.admit().unwrap().failure("timeout");
        }
        assert_eq!(self.state(), State::Open);
    }

    fn state(&self) -> State {
        self.provider.health().state
    }

    fn is_connected(&self) -> bool {
        self.fleet.view().connected
    }
}

/// Waits until `is_so`, and panics after 20 s.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "not within {LONG:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}
