//! Many replicas and many providers.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower_health::{
    HealthCache, State,
    fleet::{Fleet, Share},
};
use tower_health_redis::RedisStore;

use super::{Replica, Server, eventually};

#[tokio::test]
async fn opening_reaches_twenty_replicas_within_a_second_and_a_half() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    // With the default interval.
    let start = || {
        Replica::start(&server.url(), |fleet| {
            fleet
                .share(Share::Trust)
                .poll_interval(Duration::from_secs(1))
        })
    };
    let replicas: Vec<_> = (0..20).map(|_| start()).collect();
    eventually("all are connected", || {
        replicas.iter().all(Replica::is_connected)
    })
    .await;
    for first in [0, 7, 19] {
        sleep(Duration::from_millis(300)).await;
        replicas[first].trip();
        let started = Instant::now();
        eventually("all are open", || {
            replicas.iter().all(|it| it.state() == State::Open)
        })
        .await;
        let took = started.elapsed();
        assert!(took < Duration::from_millis(1_500), "{took:?}");
        replicas[first].provider.mark_healthy();
        eventually("all are closed", || {
            replicas.iter().all(|it| it.state() == State::Closed)
        })
        .await;
    }
}

#[tokio::test]
async fn thousand_open_providers_are_shared() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let fleet = |cache: &HealthCache| {
        let store = RedisStore::open(server.url()).unwrap();
        Fleet::new(cache, store).share(Share::Trust).spawn()
    };
    let caches = [(); 2].map(|()| HealthCache::default());
    for cache in &caches {
        for number in 0..1_000 {
            let _ = cache.provider(format!("provider {number}"));
        }
    }
    let fleets = caches.each_ref().map(fleet);
    eventually("both are connected", || {
        fleets.iter().all(|it| it.view().connected)
    })
    .await;
    for provider in caches[0].snapshot().providers {
        let provider = caches[0].provider(provider.id);
        for _ in 0..2 {
            provider.admit().unwrap().failure("timeout");
        }
    }
    let took = eventually("all are open", || {
        let providers = caches[1].snapshot().providers;
        providers.iter().all(|it| it.state == State::Open)
    })
    .await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(fleets.iter().all(|it| it.view().connected));
}
