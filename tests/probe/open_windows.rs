//! When an open window ends, its provider is checked, and the transition is announced.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, advance, sleep, timeout};
use tower_health::{
    Backoff, Check, HealthCache, HealthProbe, Override, Policy, Scope, State, Trip,
};

use crate::{Backend, HOUR, MINUTE, SECOND, all_of, hourly, ids, pass, steady, trips_at_once};

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn recovery_is_tried_when_the_window_ends_and_not_at_the_next_turn() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let check = Check::new(backend.check()).functional();
    let probe = hourly(&cache).check_with("a", check).spawn();
    sleep(5 * SECOND).await;
    cache.provider("a").admit().unwrap().failure("refused");

    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 65_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_a_check_opened_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    backend.comes_back();
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 60_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_from_before_the_start_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    cache.provider("a").mark_unhealthy("refused");
    sleep(40 * SECOND).await;
    let probe = hourly(&cache).scope(Scope::Suspect);
    let probe = probe.check("a", backend.check()).spawn();
    pass(Duration::ZERO).await;
    backend.comes_back();
    // The failed check of the first round, at 40 s, has extended the window.
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [40_000, 100_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn lengthened_window_is_tried_at_its_new_end() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider.mark_unhealthy("refused");
    sleep(30 * SECOND).await;
    provider.mark_unhealthy("refused again");
    pass(50 * SECOND).await;
    assert_eq!(backend.asked(), [0]);
    pass(10 * SECOND).await;
    assert_eq!(backend.asked(), [0, 90_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn shortened_window_is_tried_at_its_new_end() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider
        .admit()
        .unwrap()
        .throttled(Some(30 * MINUTE), "429");
    sleep(30 * SECOND).await;
    provider.mark_healthy();
    provider.mark_unhealthy("refused");
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 90_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_an_override_hid_at_the_start_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let provider = cache.provider("a");
    provider.mark_unhealthy("refused");
    provider.force(Override::Open, 50 * MINUTE, "maintenance");
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    sleep(30 * SECOND).await;
    provider.unforce();
    pass(30 * SECOND).await;
    assert_eq!(backend.asked(), [0, 60_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_opened_under_an_override_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider.force(Override::Open, 50 * MINUTE, "maintenance");
    sleep(SECOND).await;
    provider.mark_unhealthy("refused");
    provider.unforce();
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 61_000]);
    probe.stop().await;
}

/// Scenario 30. A check that began before the trip is late, so another follows.
#[tokio::test(start_paused = true)]
async fn window_that_ends_during_a_late_check_is_tried_after_it() {
    let policy = Policy::new()
        .trip(Trip::consecutive(1))
        .backoff(Backoff::constant(SECOND));
    let cache = HealthCache::new(policy);
    let backend = Backend::taking(5 * SECOND);
    let check = Check::new(backend.check()).functional().timeout(MINUTE);
    let probe = hourly(&cache).check_with("a", check).spawn();
    pass(SECOND).await;
    cache.provider("a").mark_unhealthy("refused");
    pass(10 * SECOND).await;
    assert_eq!(backend.asked(), [0, 5_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn window_that_ends_with_a_turn_is_tried_once() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    cache.provider("a").mark_unhealthy("refused");
    cache.provider("a").mark_unhealthy("refused");
    backend.goes_down();
    pass(65 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000, 60_000]);
    probe.stop().await;
}

/// Scenario 30. Announced even for a provider that the probe does not check.
#[tokio::test(start_paused = true)]
async fn half_open_is_announced_on_time_for_providers_without_a_check() {
    let cache = trips_at_once();
    let known = cache.provider("known before");
    let start = Instant::now();
    known.mark_unhealthy("refused");
    let probe = HealthProbe::new(&cache).spawn();
    sleep(7 * SECOND).await;
    cache.provider("known later").mark_unhealthy("refused");

    let mut transitions = cache.subscribe();
    for (id, due) in [("known before", 60), ("known later", 67)] {
        let announced = timeout(HOUR, transitions.recv()).await;
        let announced = announced.expect("on time").unwrap();
        assert_eq!(start.elapsed(), due * SECOND);
        assert_eq!((&*announced.provider, announced.to), (id, State::HalfOpen));
        assert_eq!(announced.at, start + due * SECOND);
    }
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn end_of_an_override_is_announced_on_time() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    let start = Instant::now();
    cache
        .provider("a")
        .force(Override::Open, MINUTE, "maintenance");
    let mut transitions = cache.subscribe();
    let lifted = timeout(HOUR, transitions.recv()).await;
    assert_eq!(lifted.expect("on time").unwrap().to, State::Closed);
    assert_eq!(start.elapsed(), MINUTE);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn end_of_a_shortened_override_is_announced_on_time() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    let provider = cache.provider("a");
    provider.force(Override::Open, HOUR, "maintenance");
    sleep(SECOND).await;
    provider.force(Override::Open, MINUTE, "nearly done");
    let mut transitions = cache.subscribe();
    let lifted = timeout(2 * MINUTE, transitions.recv()).await;
    assert_eq!(lifted.expect("on time").unwrap().to, State::Closed);
    probe.stop().await;
}

/// Scenario 30. A subscriber lags after 1,024.
#[tokio::test(start_paused = true)]
async fn more_transitions_than_are_kept_lose_no_window() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let ids = ids(3_000);
    let probe = hourly(&cache).scope(Scope::Suspect);
    let probe = all_of(&ids, probe, &backend).spawn();
    sleep(5 * SECOND).await;
    for id in &ids {
        cache.provider(id.as_str()).mark_unhealthy("refused");
    }
    pass(MINUTE).await;
    assert_eq!(backend.asked(), vec![65_000; 3_000]);
    probe.stop().await;
}

/// Scenario 30. All transitions are announced, although nothing else reads the providers.
#[tokio::test(start_paused = true)]
async fn burst_of_openings_without_checks_is_announced_in_full() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache).spawn();
    pass(SECOND).await;
    // Spread over four seconds, so that a subscriber can keep up.
    for (number, id) in (0..).zip(ids(2_000)) {
        let wait = SECOND * (1 + number % 4);
        let policy = Policy::new().backoff(Backoff::constant(wait));
        let provider = cache.provider_with(id, policy.trip(Trip::consecutive(1)));
        provider.mark_unhealthy("refused");
    }
    let mut transitions = cache.subscribe();
    let mut announced = BTreeSet::new();
    while let Ok(Some(next)) = timeout(MINUTE, transitions.recv()).await {
        assert_eq!(next.to, State::HalfOpen);
        announced.insert(next.provider);
    }
    assert_eq!(transitions.missed(), 0);
    assert_eq!(announced.len(), 2_000);
    probe.stop().await;
}

/// The provider changes faster than the probe can follow, and only one check runs at a time.
#[tokio::test(start_paused = true)]
async fn provider_that_flaps_delays_no_check_of_another() {
    let policy = Policy::new().trip(Trip::consecutive(1));
    let cache = HealthCache::new(policy.backoff(Backoff::constant(SECOND)));
    let (flapping, other) = (Backend::taking(SECOND), Backend::default());
    flapping.goes_down();
    let probe = steady(&cache)
        .concurrency(1)
        .check("a", flapping.check())
        .check("b", other.check())
        .spawn();
    let provider = cache.provider("a");
    let start = Instant::now();
    while start.elapsed() < 2 * MINUTE {
        for _ in 0..200 {
            provider.mark_healthy();
            provider.mark_unhealthy("flaps");
        }
        advance(SECOND / 2).await;
    }
    probe.stop().await;
    assert!(other.asked().len() >= 4, "{:?}", other.asked());
}
