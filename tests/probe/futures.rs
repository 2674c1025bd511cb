//! `run` and `round` as futures that the caller polls and drops.

use std::time::Duration;

use tokio::time::timeout;
use tower_health::{HealthCache, HealthProbe};

use crate::{Backend, HOUR, SECOND, assert_nothing_recorded, pass, steady, trips_at_once};

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_run_cancels_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).check("a", backend.check());
    let cut_off = timeout(SECOND, probe.run()).await;
    assert!(cut_off.is_err());
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 0);
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_round_keeps_what_had_ended_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let (quick, slow) = (Backend::default(), Backend::taking(2 * SECOND));
    slow.goes_down();
    let probe = HealthProbe::new(&cache)
        .check("quick", quick.check())
        .check("slow", slow.check());
    let cut_off = timeout(SECOND, probe.round()).await;
    assert!(cut_off.is_err());
    pass(HOUR).await;
    assert_eq!(slow.running(), 0);
    assert!(cache.provider("quick").health().last_check.is_some());
    cache.remove("quick");
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn run_ends_when_the_last_cache_is_gone() {
    let cache = HealthCache::default();
    let last = cache.clone();
    let backend = Backend::taking(2 * SECOND);
    // Provider handles and subscribers do not keep the probe running.
    let provider = cache.provider("a");
    let _transitions = cache.subscribe();
    let running = tokio::spawn(steady(&cache).check("a", backend.check()).run());
    drop(cache);
    pass(31 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000]);

    drop(last);
    pass(Duration::ZERO).await;
    assert!(running.is_finished());
    assert_eq!(
        backend.running(),
        0,
        "not even what was in mid-check goes on"
    );
    assert!(provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn probe_of_a_cache_that_is_gone_does_nothing() {
    let backend = Backend::default();
    let probe = HealthProbe::new(&HealthCache::default()).check("a", backend.check());
    probe.round().await;
    probe.clone().run().await;
    probe.spawn().stop().await;
    assert_eq!(backend.asked(), []);
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn spawn_outside_a_runtime_is_refused() {
    let _ = HealthProbe::new(&HealthCache::default()).spawn();
}
