//! Sequences of events in which a replica could harm others, or lose an override.

use std::time::Duration;

use tokio::time::sleep;
use tower::Layer;
use tower::{Service, service_fn};
use tower_health::{
    Backoff, Cause, Check, Exhausted, FallbackChain, HealthCache, HealthLayer, HealthProbe,
    Override, Policy, State,
    fleet::{Fleet, Share},
};

use super::{Fault, FaultyStore, MINUTE, PATIENCE, POLL, Replica, SECOND, replicas};

#[tokio::test(start_paused = true)]
async fn one_replicas_failed_trials_do_not_keep_others_open() {
    let ([broken, healthy], _store) = replicas(Share::Advise).await;
    healthy.trip();
    let mut refused = Duration::ZERO;
    for _ in 0..600 {
        // A chain without another provider does the same.
        if broken.provider.is_healthy() || broken.provider.grant_trial() {
            broken.fail_trial();
        }
        match healthy.provider.admit() {
            Ok(permit) => permit.success(),
            Err(_) => refused += SECOND,
        }
        sleep(SECOND).await;
    }
    assert!(refused < 3 * MINUTE, "refused for {refused:?}");
}

#[tokio::test(start_paused = true)]
async fn peers_deadlines_are_limited_even_if_they_are_repeated() {
    let store = FaultyStore::default();
    let hour = Policy::new().backoff(Backoff::constant(60 * MINUTE));
    let one = Replica::with(hour, |cache| Fleet::new(cache, store.clone()));
    let other = Replica::of(|cache| Fleet::new(cache, store.clone()));
    sleep(POLL).await;
    other.trip();
    one.trip();
    sleep(11 * MINUTE).await;
    assert_eq!(other.state(), State::HalfOpen, "after `max_hold`");
}

#[tokio::test(start_paused = true)]
async fn end_of_an_outage_is_sent_again_if_the_exchange_fails() {
    let ([one, other], store) = replicas(Share::Trust).await;
    one.trip();
    sleep(POLL).await;
    assert_eq!(other.state(), State::Open);
    store.set(Fault::Refusing);
    one.provider.mark_healthy();
    sleep(10 * SECOND).await;
    store.set(Fault::None);
    sleep(30 * SECOND).await;
    assert_eq!(other.state(), State::Closed);
}

async fn sharing_overrides() -> ([Replica; 2], FaultyStore) {
    let store = FaultyStore::default();
    let share = |cache: &_| Fleet::new(cache, store.clone()).share_overrides(true);
    let replicas = [(); 2].map(|()| Replica::of(share));
    sleep(POLL).await;
    (replicas, store)
}

#[tokio::test(start_paused = true)]
async fn override_that_is_lifted_without_the_store_stays_lifted() {
    let ([one, other], store) = sharing_overrides().await;
    one.provider
        .force(Override::Open, 60 * MINUTE, "maintenance");
    sleep(2 * POLL).await;
    store.set(Fault::Refusing);
    sleep(2 * SECOND).await;
    one.provider.unforce();
    sleep(SECOND).await;
    store.set(Fault::None);
    sleep(MINUTE).await;
    assert_eq!(one.cause(), None);
    assert_eq!(other.cause(), None);
}

#[tokio::test(start_paused = true)]
async fn override_that_is_replaced_without_the_store_stays_replaced() {
    let ([one, other], store) = sharing_overrides().await;
    one.provider.force(Override::Open, 60 * MINUTE, "first");
    sleep(2 * POLL).await;
    store.set(Fault::Refusing);
    sleep(2 * SECOND).await;
    one.provider.force(Override::Closed, 60 * MINUTE, "second");
    sleep(SECOND).await;
    store.set(Fault::None);
    sleep(MINUTE).await;
    for replica in [&one, &other] {
        assert_eq!(replica.provider.health().reason.unwrap(), "second");
    }
}

/// Cuts a replica off from the store for ten minutes. After five of them, `meanwhile` happens on the other replica.
async fn rejoins_after(meanwhile: impl FnOnce(&Replica)) -> [Replica; 2] {
    let (store, other_store) = (FaultyStore::default(), FaultyStore::default());
    let other_store = FaultyStore {
        memory: store.memory.clone(),
        ..other_store
    };
    let share = |cache: &_, store| Fleet::new(cache, store).share_overrides(true);
    let away = Replica::of(|cache| share(cache, store.clone()));
    let other = Replica::of(|cache| share(cache, other_store));
    sleep(POLL).await;
    away.provider.force(Override::Open, 60 * MINUTE, "first");
    sleep(2 * POLL).await;
    assert_eq!(other.cause(), Some(Cause::Forced));
    store.set(Fault::Refusing);
    sleep(5 * MINUTE).await;
    meanwhile(&other);
    sleep(5 * MINUTE).await;
    store.set(Fault::None);
    sleep(5 * MINUTE).await;
    [away, other]
}

#[tokio::test(start_paused = true)]
async fn replica_that_rejoins_does_not_bring_an_old_override_back() {
    for replica in rejoins_after(|other| other.provider.unforce()).await {
        assert_eq!(replica.cause(), None);
    }
    let replaced = |other: &Replica| {
        let provider = &other.provider;
        provider.force(Override::Closed, 60 * MINUTE, "second");
    };
    for replica in rejoins_after(replaced).await {
        assert_eq!(replica.provider.health().reason.unwrap(), "second");
    }
}

#[tokio::test(start_paused = true)]
async fn chain_that_waits_gets_the_trial_at_the_end_of_the_window() {
    let ([one], _store) = replicas(Share::Advise).await;
    one.trip();
    let stack = HealthLayer::new(one.provider.clone())
        .layer(service_fn(async |()| Ok::<_, tower_health::BoxError>(())));
    let mut chain = FallbackChain::new()
        .entry(one.provider.clone(), stack)
        .when_exhausted(Exhausted::Wait(2 * MINUTE));
    let started = tokio::time::Instant::now();
    chain.call(()).await.unwrap();
    assert!(
        started.elapsed() < MINUTE + 3 * SECOND,
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn handles_that_outlive_the_cache_need_no_lease() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    let Replica {
        cache,
        provider,
        fleet,
    } = one;
    drop(cache);
    sleep(POLL).await;
    for _ in 0..2 {
        provider.admit().unwrap().failure("timeout");
    }
    sleep(MINUTE).await;
    assert!(provider.admit().unwrap().is_trial());
    drop(fleet);

    let removed = other.provider.clone();
    other.cache.remove("a");
    sleep(POLL).await;
    for _ in 0..2 {
        removed.admit().unwrap().failure("timeout");
    }
    sleep(MINUTE).await;
    assert!(removed.admit().unwrap().is_trial());
}

#[tokio::test(start_paused = true)]
async fn window_that_is_almost_over_is_not_ended_by_a_replica_that_did_not_open() {
    let ([one, other], store) = replicas(Share::Advise).await;
    let permit = one.provider.admit().unwrap();
    permit.throttled(Some(Duration::from_millis(200)), "429");
    // Each answer takes longer than the rest of the window.
    store.set(Fault::Slow(Duration::from_millis(150)));
    sleep(5 * SECOND).await;
    assert_eq!(other.state(), State::Closed);
    assert_eq!(store.writes_of("ended"), 0);
}

#[tokio::test(start_paused = true)]
async fn provider_that_is_removed_and_added_ends_nothing() {
    let store = FaultyStore::default();
    let share = |cache: &_| {
        let fleet = Fleet::new(cache, store.clone()).share_overrides(true);
        fleet.share(Share::Trust)
    };
    let [one, other] = [(); 2].map(|()| Replica::of(share));
    sleep(POLL).await;
    one.trip();
    one.provider
        .force(Override::Open, 10 * MINUTE, "maintenance");
    sleep(2 * POLL).await;
    other.cache.remove("a");
    let again = other.cache.provider("a");
    sleep(3 * POLL).await;
    assert_eq!(one.cause(), Some(Cause::Forced));
    assert_eq!(again.health().cause, Some(Cause::Forced), "it joins again");
    one.provider.unforce();
    sleep(3 * POLL).await;
    assert_eq!(one.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn rule_1_check_that_began_before_the_trip_closes_nothing() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    let slow = Check::new(async || {
        sleep(2 * SECOND).await;
        true
    });
    let _probe = HealthProbe::new(&one.cache)
        .check_with("a", slow.functional())
        .fleet(&one.fleet)
        .spawn();
    sleep(SECOND).await;
    other.trip();
    sleep(5 * SECOND).await;
    assert_eq!(other.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failed_checks_of_one_replica_do_not_keep_others_open() {
    let ([broken, healthy], _store) = replicas(Share::Advise).await;
    let probe = |replica: &Replica, is_up: bool| {
        let check = Check::new(move || std::future::ready(is_up));
        let probe = HealthProbe::new(&replica.cache).check_with("a", check.functional());
        probe.fleet(&replica.fleet).spawn()
    };
    let _probes = [probe(&broken, false), probe(&healthy, true)];
    sleep(5 * MINUTE).await;
    healthy.trip();
    sleep(2 * MINUTE).await;
    assert_eq!(healthy.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn throttled_replica_does_not_vote_that_the_provider_is_down() {
    let ([broken, throttled, idle], _store) = replicas(Share::Quorum).await;
    broken.trip();
    sleep(POLL).await;
    let permit = throttled.provider.admit().unwrap();
    permit.throttled(Some(2 * SECOND), "429");
    assert!(throttled.retry_in() <= 3 * SECOND);
    sleep(POLL).await;
    assert!(
        throttled.retry_in() <= 2 * SECOND,
        "no failure extends a throttle"
    );
    sleep(30 * SECOND).await;
    assert_ne!(idle.state(), State::Open, "one replica is no quorum");
}

#[tokio::test(start_paused = true)]
async fn failure_from_before_a_warning_opens_nothing() {
    let ([one, idle], _store) = replicas(Share::Advise).await;
    idle.fail();
    sleep(60 * MINUTE).await;
    one.trip();
    sleep(PATIENCE + 2 * POLL).await;
    assert_eq!(idle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn lease_that_no_call_uses_is_given_back_to_a_replica_that_waits() {
    let ([polled, busy], _store) = replicas(Share::Advise).await;
    polled.trip();
    busy.trip();
    sleep(MINUTE).await;
    // A monitor asks for the health; no call follows.
    assert!(!polled.provider.is_healthy());
    sleep(SECOND / 10).await;
    assert!(polled.provider.is_healthy());
    assert!(busy.provider.admit().is_err());
    sleep(7 * SECOND).await;
    let trial = busy.win_trial().await;
    assert!(polled.provider.admit().is_err(), "its lease is gone");
    trial.success();
}

#[tokio::test(start_paused = true)]
async fn forced_breaker_does_not_take_the_lease() {
    let ([forced, busy], _store) = replicas(Share::Advise).await;
    forced.trip();
    busy.trip();
    forced
        .provider
        .force(Override::Open, 60 * MINUTE, "here only");
    sleep(MINUTE).await;
    for _ in 0..10 {
        assert!(forced.provider.admit().is_err());
        sleep(SECOND / 10).await;
    }
    busy.win_trial().await.success();
}

#[tokio::test(start_paused = true)]
async fn breaker_that_only_observes_shares_nothing() {
    let store = FaultyStore::default();
    let shadow = Policy::new().observe_only(true);
    let one = Replica::with(shadow, |cache| Fleet::new(cache, store.clone()));
    let other = Replica::of(|cache| Fleet::new(cache, store.clone()).share(Share::Trust));
    sleep(POLL).await;
    one.trip();
    sleep(3 * POLL).await;
    assert_eq!(other.state(), State::Closed);
    assert_eq!(store.writes_of(""), 0);
    sleep(MINUTE).await;
    one.succeed();
    assert_eq!(one.state(), State::Closed, "its trials need no lease");
}

#[tokio::test(start_paused = true)]
async fn idle_half_open_provider_is_not_down_for_a_readiness_check() {
    let ([one], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(MINUTE).await;
    let health = one.provider.health();
    assert_eq!(health.state, State::HalfOpen);
    assert!(
        health.retry_in.unwrap() <= SECOND,
        "the fleet answers within a poll"
    );
}

#[tokio::test(start_paused = true)]
async fn longest_settings_do_not_overflow() {
    let cache = HealthCache::default();
    let provider = cache.provider("a");
    let _fleet = Fleet::new(&cache, FaultyStore::default())
        .poll_interval(5 * SECOND)
        .timeout(Duration::MAX)
        .trial_lease(Duration::MAX)
        .trial_wait(Duration::MAX)
        .share_health(true)
        .spawn();
    sleep(SECOND).await;
    for _ in 0..2 {
        provider.admit().unwrap().failure("timeout");
    }
    sleep(MINUTE).await;
    assert!(provider.admit().is_err());
    sleep(SECOND).await;
    provider.admit().unwrap().success();
}

#[tokio::test(start_paused = true)]
async fn many_that_are_served_outvote_many_that_are_not() {
    let ([one, two, idle], store) = replicas(Share::Quorum).await;
    let join = |_| Replica::of(|cache| Fleet::new(cache, store.clone()).share(Share::Quorum));
    let down: Vec<_> = (0..16).map(join).collect();
    let up: Vec<_> = (0..30).map(join).collect();
    sleep(POLL).await;
    one.trip();
    sleep(POLL).await;
    for served in &up {
        served.succeed();
    }
    sleep(2 * POLL).await;
    two.trip();
    for replica in &down {
        replica.trip();
    }
    sleep(5 * POLL).await;
    assert_eq!(idle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn votes_end_with_the_outage() {
    let ([one, served], store) = replicas(Share::Quorum).await;
    one.trip();
    sleep(POLL).await;
    served.succeed();
    sleep(2 * POLL).await;
    one.provider.mark_healthy();
    sleep(2 * POLL).await;
    let votes = store.writes_of("vote");
    sleep(5 * MINUTE).await;
    assert_eq!(store.writes_of("vote"), votes);
}

#[tokio::test(start_paused = true)]
async fn votes_are_few_in_a_large_fleet() {
    let store = FaultyStore::default();
    let policy = || Policy::new().backoff(Backoff::constant(10 * MINUTE));
    let fleet = |cache: &_| Fleet::new(cache, store.clone()).share(Share::Quorum);
    let replicas: Vec<_> = (0..100).map(|_| Replica::with(policy(), fleet)).collect();
    sleep(POLL).await;
    let (one, served) = replicas.split_first().unwrap();
    one.trip();
    sleep(POLL).await;
    for replica in served {
        replica.succeed();
    }
    // At first, each votes before it sees the votes of the others.
    sleep(3 * MINUTE).await;
    let entries = store.entries().await;
    let votes = entries.iter().filter(|it| it.key.contains("vote")).count();
    assert!((1..=20).contains(&votes), "{votes} votes");
}

#[tokio::test(start_paused = true)]
async fn override_that_was_replaced_for_a_while_does_not_come_back() {
    let replaced = |other: &Replica| {
        let provider = &other.provider;
        provider.force(Override::Closed, MINUTE, "for a minute");
    };
    for replica in rejoins_after(replaced).await {
        assert_eq!(replica.cause(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn override_of_weeks_holds_elsewhere_for_one() {
    let store = FaultyStore::default();
    let fleet = |cache: &_| {
        let fleet = Fleet::new(cache, store.clone()).poll_interval(5 * SECOND);
        fleet.share_overrides(true)
    };
    let [one, other] = [(); 2].map(|()| Replica::of(fleet));
    let day = Duration::from_secs(24 * 60 * 60);
    one.provider.force(Override::Open, 30 * day, "for a month");
    sleep(10 * POLL).await;
    assert_eq!(other.cause(), Some(Cause::Forced));
    sleep(7 * day).await;
    sleep(10 * POLL).await;
    assert_eq!(other.cause(), None);
    assert_eq!(one.cause(), Some(Cause::Forced));
}

#[tokio::test(start_paused = true)]
async fn passing_check_of_one_replica_does_not_end_the_warning_of_another() {
    let ([one, two, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(POLL).await;
    let passes = Check::new(|| std::future::ready(true));
    let probe = HealthProbe::new(&two.cache).check_with("a", passes);
    let _probe = probe.fleet(&two.fleet).spawn();
    sleep(2 * POLL).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn thousand_providers_that_recover_at_once_close_everywhere() {
    let store = FaultyStore::default();
    let caches = [(); 2].map(|()| HealthCache::default());
    let _fleets = caches.each_ref().map(|cache| {
        let fleet = Fleet::new(cache, store.clone()).share(Share::Trust);
        fleet.spawn()
    });
    let providers = caches.each_ref().map(|cache| {
        let all = (0..1_000).map(|number| cache.provider(format!("provider {number}")));
        all.collect::<Vec<_>>()
    });
    sleep(POLL).await;
    for provider in &providers[0] {
        provider.mark_unhealthy("down");
        provider.mark_unhealthy("down");
    }
    sleep(POLL).await;
    assert!(
        providers[1]
            .iter()
            .all(|it| it.health().state == State::Open)
    );
    for provider in &providers[0] {
        provider.mark_healthy();
    }
    sleep(2 * POLL).await;
    assert!(
        providers[1]
            .iter()
            .all(|it| it.health().state == State::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn restored_snapshot_is_no_new_evidence() {
    let before = HealthCache::default();
    before.provider("a").mark_unhealthy("down");
    before.provider("a").mark_unhealthy("down");
    before
        .provider("b")
        .force(Override::Open, 60 * MINUTE, "maintenance");
    let store = FaultyStore::default();
    let share = |cache: &_| {
        let fleet = Fleet::new(cache, store.clone()).share(Share::Trust);
        fleet.share_overrides(true)
    };
    let other = Replica::of(share);
    let b = other.cache.provider("b");
    sleep(POLL).await;
    let restarted = Replica::of(|cache| {
        cache.restore(&before.snapshot());
        share(cache)
    });
    assert_eq!(restarted.state(), State::Open);
    sleep(3 * POLL).await;
    assert_eq!(restarted.state(), State::Open);
    assert_eq!(other.state(), State::Closed);
    assert_eq!(b.health().cause, None);
}

#[tokio::test(start_paused = true)]
async fn end_of_an_outage_leaves_a_throttle() {
    let store = FaultyStore::default();
    let share = |cache: &_| Fleet::new(cache, store.clone());
    let [failing, throttled] = [(); 2].map(|()| Replica::of(share));
    let elsewhere = Replica::of(|cache| share(cache).quota_scope("eu"));
    sleep(POLL).await;
    elsewhere.trip();
    failing.trip();
    sleep(POLL).await;
    let permit = throttled.provider.admit().unwrap();
    permit.throttled(Some(40 * SECOND), "429");
    sleep(POLL).await;
    elsewhere.provider.mark_healthy();
    sleep(3 * POLL).await;
    assert_eq!(throttled.state(), State::Open);
    assert_eq!(failing.state(), State::Open, "its scope is throttled");
    assert_eq!(store.writes_of("ended"), 1);
}

#[tokio::test(start_paused = true)]
async fn last_changes_before_a_stop_are_shared() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    one.trip();
    sleep(POLL).await;
    one.provider.mark_healthy();
    one.fleet.stop().await;
    sleep(POLL).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn breaker_that_only_observes_gets_checks_and_overrides() {
    let store = FaultyStore::default();
    let shadow = Policy::new().observe_only(true);
    let share = |cache: &_| Fleet::new(cache, store.clone()).share_overrides(true);
    let one = Replica::of(share);
    let shadow = Replica::with(shadow, share);
    sleep(POLL).await;
    let passes = || Check::new(|| std::future::ready(true)).functional();
    let _probes = [&one, &shadow].map(|replica| {
        let probe = HealthProbe::new(&replica.cache).check_with("a", passes());
        probe.fleet(&replica.fleet).spawn()
    });
    sleep(10 * SECOND).await;
    for replica in [&one, &shadow] {
        assert!(replica.provider.health().last_check.is_some());
    }
    one.provider.force(Override::Open, MINUTE, "maintenance");
    sleep(2 * POLL).await;
    assert_eq!(shadow.cause(), Some(Cause::Forced));
}
