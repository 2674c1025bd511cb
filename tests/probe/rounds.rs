//! The times of checks, and how many run at once.

use std::{collections::BTreeSet, future::ready, time::Duration};

use tokio::time::{Instant, advance, sleep};
use tower_health::{Check, HealthCache, HealthProbe};

use crate::{Backend, HOUR, MINUTE, SECOND, all_of, ids, pass, steady, trips_at_once};

#[tokio::test(start_paused = true)]
async fn checks_of_a_round_run_at_once() {
    let cache = HealthCache::default();
    let backend = Backend::taking(2 * SECOND);
    let probe = all_of(&ids(20), HealthProbe::new(&cache), &backend);
    let start = Instant::now();
    probe.round().await;
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(backend.most_at_once(), 20);
}

#[tokio::test(start_paused = true)]
async fn no_checks_is_a_no_op() {
    let cache = HealthCache::default();
    let start = Instant::now();
    let probe = HealthProbe::new(&cache);
    probe.round().await;
    let running = probe.spawn();
    running.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn provider_with_a_check_is_known_from_the_start() {
    let cache = HealthCache::default();
    let _probe = HealthProbe::new(&cache).check("a", || ready(true));
    assert!(cache.get("a").is_some());
}

#[tokio::test(start_paused = true)]
async fn last_check_given_to_a_provider_is_the_one() {
    let cache = HealthCache::default();
    let (first, last) = (Backend::default(), Backend::default());
    let probe = HealthProbe::new(&cache)
        .check("a", first.check())
        .check("a", last.check());
    probe.round().await;
    assert_eq!((first.asked().len(), last.asked().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn first_round_is_immediate_and_the_next_an_interval_later() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(95 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000, 60_000, 90_000]);
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn jitter_keeps_to_its_share_of_the_interval() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).check("a", backend.check()).spawn();
    pass(HOUR).await;
    probe.stop().await;

    let asked = backend.asked();
    let pauses: BTreeSet<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Timers have a resolution of one millisecond.
    assert!(pauses.iter().all(|pause| (26_999..=33_001).contains(pause)));
    assert!(
        pauses.len() > 50,
        "no two alike, but for chance: {pauses:?}"
    );
    assert!((109..=134).contains(&asked.len()));
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_first_round_of_many() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).jitter(0.5).concurrency(10);
    let probe = all_of(&ids(100), probe, &backend).spawn();
    pass(15 * SECOND).await;
    probe.stop().await;

    let asked = backend.asked();
    assert_eq!(asked.len(), 100, "each within half of the interval");
    assert!(asked.iter().max().unwrap() > &10_000);
    assert!(asked.iter().filter(|at| **at == 0).count() < 10);
}

#[tokio::test(start_paused = true)]
async fn first_round_of_few_is_not_spread() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).jitter(0.5).concurrency(10);
    let probe = all_of(&ids(10), probe, &backend).spawn();
    pass(Duration::ZERO).await;
    assert_eq!(backend.asked(), [0; 10]);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn missed_rounds_are_skipped_and_never_bunched() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;

    advance(10 * HOUR).await;
    pass(29 * SECOND).await;
    assert_eq!(backend.asked().len(), 2, "one for all that were missed");
    pass(2 * SECOND).await;
    assert_eq!(backend.asked().len(), 3);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn late_turn_moves_none_of_those_after_it() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    sleep(SECOND).await;

    advance(39 * SECOND).await;
    pass(50 * SECOND).await;
    assert_eq!(backend.asked(), [0, 40_000, 60_000, 90_000]);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_turns_that_are_due_at_once_are_one() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).skip_when_busy(true);
    let probe = probe.check("a", backend.check()).spawn();
    sleep(SECOND).await;
    cache.provider("a").admit().unwrap().success();

    advance(59 * SECOND).await;
    pass(30 * SECOND).await;
    assert_eq!(backend.asked(), [0, 90_000], "busy at 60 s");
    probe.stop().await;
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn provider_is_never_checked_twice_at_once() {
    let cache = trips_at_once();
    let backend = Backend::taking(70 * SECOND);
    let check = Check::new(backend.check()).timeout(2 * MINUTE);
    let probe = steady(&cache).check_with("a", check).spawn();
    pass(5 * SECOND).await;
    // The window ends at 65 s, during the first check.
    cache.provider("a").mark_unhealthy("refused");
    pass(5 * MINUTE).await;
    assert_eq!(backend.most_at_once(), 1);
    assert!(backend.asked().len() > 3);
    probe.stop().await;
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn slow_check_does_not_delay_the_others() {
    let cache = HealthCache::default();
    let (quick, slow) = (Backend::default(), Backend::taking(HOUR));
    let probe = steady(&cache)
        .timeout(2 * HOUR)
        .check("a", slow.check())
        .check("b", quick.check())
        .check("c", slow.check())
        .spawn();
    pass(65 * SECOND).await;
    assert_eq!(slow.asked(), [0, 0]);
    assert_eq!(quick.asked(), [0, 30_000, 60_000]);
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn concurrency_is_respected_and_used() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    let probe = HealthProbe::new(&cache).concurrency(3);
    let probe = all_of(&ids(10), probe, &backend);
    probe.round().await;
    assert_eq!(backend.most_at_once(), 3);
    let waves = [[0; 3], [1_000; 3], [2_000; 3]].concat();
    assert_eq!(backend.asked(), [waves, vec![3_000]].concat());
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn check_that_hangs_gives_its_place_up_at_its_timeout() {
    let cache = HealthCache::default();
    let backend = Backend::taking(HOUR);
    let probe = HealthProbe::new(&cache).concurrency(1);
    all_of(&ids(4), probe, &backend).round().await;
    assert_eq!(backend.asked(), [0, 3_000, 6_000, 9_000]);
    assert_eq!(backend.running(), 0);
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn at_most_32_checks_run_at_once_by_default() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    all_of(&ids(100), HealthProbe::new(&cache), &backend)
        .round()
        .await;
    assert_eq!(backend.most_at_once(), 32);
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn ten_thousand_providers_are_checked_in_one_round() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    let probe = all_of(&ids(10_000), HealthProbe::new(&cache), &backend);

    probe.round().await;
    assert_eq!(backend.asked().len(), 10_000);
    assert!(cache.snapshot().providers.iter().all(|row| !row.healthy));

    backend.comes_back();
    probe.round().await;
    assert!(cache.snapshot().providers.iter().all(|row| row.healthy));
}

#[tokio::test(start_paused = true)]
async fn check_keeps_to_its_own_interval_and_timeout() {
    let cache = trips_at_once();
    let (often, default) = (Backend::taking(9 * SECOND), Backend::default());
    let patient = Check::new(often.check())
        .interval(10 * SECOND)
        .timeout(20 * SECOND);
    let probe = steady(&cache)
        .check_with("often", patient)
        .check("default", default.check())
        .spawn();
    pass(35 * SECOND).await;
    assert_eq!(often.asked(), [0, 10_000, 20_000, 30_000]);
    assert_eq!(default.asked(), [0, 30_000]);
    assert!(cache.is_healthy("often"), "9 s are not too slow for it");
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn longest_durations_do_not_overflow() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache)
        .interval(Duration::MAX)
        .timeout(Duration::MAX)
        .check("a", backend.check())
        .spawn();
    pass(24 * HOUR).await;
    assert_eq!(backend.asked(), [0]);
    probe.stop().await;
}
