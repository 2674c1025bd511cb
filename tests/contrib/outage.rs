//! An outage that touches every metric.

use std::{
    future::{pending, ready},
    io,
    time::Duration,
};

use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    runtime::Builder,
    time::{advance, sleep},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    FallbackChain, HealthCache, HealthLayer, HealthProbe, Override, Policy,
    fleet::{Fleet, MemoryStore},
};

use crate::exposition::Exposition;

/// Returns what an exporter with default settings shows after the outage.
pub(crate) fn rendered() -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    with_local_recorder(&recorder, || {
        runtime.block_on(async {
            // Rendered while the cache lives: without it, providers have no state.
            let cache = HealthCache::new(Policy::new().measure_latency(true));
            calls(&cache).await;
            checks(&cache).await;
            chain(&cache).await;
            keyed(&cache).await;
            let _fleet = Fleet::new(&cache, MemoryStore::default()).spawn();
            sleep(Duration::from_secs(1)).await;
            recorder.handle().render()
        })
    })
}

pub(crate) fn shown() -> Exposition {
    Exposition::of(&rendered())
}

async fn calls(cache: &HealthCache) {
    let provider = cache.provider("a");
    let admit = || provider.admit().unwrap();
    admit().success();
    admit().answered();
    admit().neutral();
    let late = admit();
    admit().failure("down");
    admit().failure("down");
    late.success();
    provider.admit().unwrap_err();
    advance(Duration::from_secs(60)).await;
    admit().success();
    admit().throttled(None, "slow down");
    provider.mark_healthy();
}

async fn checks(cache: &HealthCache) {
    let probe = HealthProbe::new(cache)
        .check("passes", || ready(true))
        .check("fails", || ready(false))
        .check("hangs", pending::<bool>);
    probe.round().await;
    probe.round().await;
}

async fn chain(cache: &HealthCache) {
    let down = || service_fn(|()| ready(Err::<(), _>(io::Error::other("down"))));
    let [a, b, c] = ["a", "b", "c"].map(|id| cache.provider(id));
    let mut chain = FallbackChain::new()
        .entry(a.clone(), HealthLayer::new(a.clone()).layer(down()))
        .entry_if(b.clone(), HealthLayer::new(b).layer(down()), |()| false)
        .entry(c.clone(), HealthLayer::new(c).layer(down()));
    chain.call(()).await.unwrap_err();
    a.force(Override::Open, Duration::from_secs(60), "maintenance");
    chain.call(()).await.unwrap_err();
}

async fn keyed(cache: &HealthCache) {
    let layer = HealthLayer::keyed(cache, |key: &&'static str| *key);
    let inner = service_fn(|_: &'static str| ready(Err::<(), _>(io::Error::other("down"))));
    let mut service = layer.layer(inner);
    for _ in 0..2 {
        let service = service.ready().await.unwrap();
        service.call("host").await.unwrap_err();
    }
}
