//! Which providers are checked.

use std::time::Duration;

use tokio::time::{advance, sleep};
use tower_health::{Check, HealthCache, HealthProbe, Scope, State};

use crate::{Backend, HOUR, MINUTE, SECOND, all_of, ids, pass, steady, trips_at_once};

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn suspect_scope_leaves_the_closed_alone() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let check = Check::new(backend.check()).functional();
    let probe = steady(&cache).scope(Scope::Suspect);
    let probe = probe.check_with("a", check).spawn();
    pass(40 * SECOND).await;
    assert_eq!(backend.asked(), []);

    backend.goes_down();
    cache.provider("a").mark_unhealthy("refused");
    pass(45 * SECOND).await;
    assert_eq!(backend.asked(), [60_000], "while it is open");

    backend.comes_back();
    pass(HOUR).await;
    assert_eq!(backend.asked(), [60_000, 90_000], "until it has closed");
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn suspect_scope_checks_the_half_open() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).scope(Scope::Suspect);
    let probe = probe.check("a", backend.check());
    cache.provider("a").mark_unhealthy("refused");
    advance(MINUTE).await;
    assert_eq!(cache.provider("a").health().state, State::HalfOpen);
    probe.round().await;
    assert_eq!(backend.asked(), [60_000]);
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn busy_provider_is_skipped_where_asked_for() {
    let cache = HealthCache::default();
    let (spared, not_spared) = (Backend::default(), Backend::default());
    let sparing = steady(&cache).skip_when_busy(true);
    let sparing = sparing.check("spared", spared.check()).spawn();
    let plain = steady(&cache).check("not spared", not_spared.check());
    let plain = plain.spawn();
    let succeed = || {
        for id in ["spared", "not spared"] {
            cache.provider(id).admit().unwrap().success();
        }
    };

    pass(SECOND).await;
    succeed();
    pass(30 * SECOND).await;
    succeed();
    succeed();
    pass(60 * SECOND).await;
    assert_eq!(
        spared.asked(),
        [0, 90_000],
        "busy until 30 s and until 60 s"
    );
    assert_eq!(not_spared.asked(), [0, 30_000, 60_000, 90_000]);
    sparing.stop().await;
    plain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn busy_provider_is_checked_once_it_has_opened() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).skip_when_busy(true);
    let probe = probe.check("a", backend.check());
    cache.provider("a").admit().unwrap().success();
    cache.provider("a").admit().unwrap().failure("refused");
    probe.round().await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn removed_provider_is_neither_checked_nor_created_again() {
    let cache = trips_at_once();
    let (gone, kept) = (Backend::default(), Backend::default());
    let probe = steady(&cache)
        .check("gone", gone.check())
        .check("kept", kept.check())
        .spawn();
    pass(SECOND).await;
    let handle = cache.provider("gone");
    handle.mark_unhealthy("refused");
    cache.remove("gone");
    pass(2 * MINUTE).await;
    assert_eq!(gone.asked(), [0]);
    assert_eq!(kept.asked(), [0, 30_000, 60_000, 90_000, 120_000]);
    assert!(cache.get("gone").is_none());

    let _ = cache.provider("gone");
    pass(30 * SECOND).await;
    assert_eq!(gone.asked(), [0, 150_000], "asked for again, checked again");
    probe.stop().await;
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn provider_removed_during_its_check_is_not_created_again() {
    let cache = trips_at_once();
    let backend = Backend::taking(SECOND);
    backend.goes_down();
    let probe = HealthProbe::new(&cache).concurrency(1);
    let probe = all_of(&ids(3), probe, &backend);
    let running = tokio::spawn(async move { probe.round().await });
    pass(Duration::ZERO).await;
    let handles: Vec<_> = ids(3).into_iter().map(|id| cache.provider(id)).collect();
    for handle in &handles {
        cache.remove(handle.id());
    }
    running.await.unwrap();
    assert!(cache.snapshot().providers.is_empty());
    assert_eq!(backend.asked(), [0], "those that waited are not checked");
    assert!(
        handles
            .iter()
            .all(|handle| handle.health().last_check.is_none())
    );
}

/// The result applies only to the removed breaker, even if a new provider has its id.
#[tokio::test(start_paused = true)]
async fn check_of_a_removed_provider_does_not_count_for_the_next_of_that_id() {
    for (passes, depth) in [
        (false, Check::functional as fn(Check) -> Check),
        (true, Check::functional),
        (true, |check| check),
    ] {
        let cache = trips_at_once();
        let old = cache.provider("a");
        let check = Check::new(move || async move {
            sleep(SECOND).await;
            passes
        });
        let probe = steady(&cache).check_with("a", depth(check)).spawn();
        sleep(SECOND / 2).await;
        cache.remove("a");
        let new = cache.provider("a");
        if passes {
            new.mark_unhealthy("down");
        }
        let before = new.health();
        pass(SECOND).await;
        probe.stop().await;
        let after = new.health();
        assert_eq!(after.state, before.state);
        assert_eq!(after.last_check, before.last_check);
        assert_eq!(old.health().last_check, None);
    }
}
