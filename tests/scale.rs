//! Costs that grow with the number of providers grow no faster than it. For times, see `benches/scale`.

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use allocation_counter::measure;
use tokio::time::sleep;
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{HealthCache, HealthLayer, HealthProbe};

fn filled(providers: usize) -> HealthCache {
    let cache = HealthCache::default();
    for number in 0..providers {
        let _ = cache.provider(format!("provider-{number}"));
    }
    cache
}

#[test]
fn snapshot_allocates_no_more_for_each_of_many() {
    let allocations = |providers| {
        let cache = filled(providers);
        measure(|| drop(cache.snapshot())).count_total
    };
    // A vector of the providers, and one of their rows.
    assert_eq!(allocations(10_000), allocations(1_000));
}

/// With metrics, the provider's part of the shared series is extra.
#[test]
fn provider_of_a_key_takes_at_most_512_bytes() {
    const PROVIDERS: i64 = 10_000;
    const MOST: i64 = if cfg!(feature = "metrics") { 592 } else { 512 };
    let cache = HealthCache::default();
    let layer = HealthLayer::keyed(&cache, String::as_str);
    let service = layer.layer(service_fn(|_| ready(Ok::<_, Infallible>(()))));
    let all = measure(|| {
        for number in 0..PROVIDERS {
            let id = format!("https://host-{number:06}.example.com");
            assert_ready_ok!(task::spawn(service.clone().oneshot(id)).poll());
        }
    });
    let bytes = all.bytes_current / PROVIDERS;
    assert!((1..=MOST).contains(&bytes), "{bytes} bytes a provider");
}

#[tokio::test(start_paused = true)]
async fn round_checks_each_of_many_once_and_so_many_at_once() {
    const PROVIDERS: usize = 10_000;
    let cache = HealthCache::default();
    let (running, most, all) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let probe = (0..PROVIDERS).fold(HealthProbe::new(&cache), |probe, number| {
        let (running, most, all) = (running.clone(), most.clone(), all.clone());
        probe.check(format!("provider-{number}"), move || {
            let (running, most, all) = (running.clone(), most.clone(), all.clone());
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                sleep(Duration::from_millis(1)).await;
                running.fetch_sub(1, SeqCst);
                all.fetch_add(1, SeqCst);
            }
        })
    });

    probe.round().await;
    assert_eq!(all.load(SeqCst), PROVIDERS);
    assert_eq!(most.load(SeqCst), 32, "the default");
}
