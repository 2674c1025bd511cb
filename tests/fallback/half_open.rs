//! Trials of a half-open provider among many callers.

use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::Service;
use tower_health::{HealthCache, State};

use crate::{SECOND, ask, ask_at_once, chain_of, stubs, stubs_of};

/// Scenario 42.
#[tokio::test(start_paused = true)]
async fn of_80_callers_of_a_half_open_provider_one_reaches_it() {
    let [a, b] = stubs();
    a.is_half_open().await;
    a.serves_after(SECOND);

    let served = ask_at_once(80, &chain_of([&a, &b])).await;
    assert_eq!(served, [("a", 1), ("b", 79)]);
    assert_eq!((a.calls(), b.calls()), (1, 79));
}

/// Scenario 42, when all 80 find the slot free before the first takes it.
#[tokio::test(start_paused = true)]
async fn of_80_callers_that_race_for_a_trial_one_reaches_it() {
    let [a, b] = stubs();
    a.is_half_open().await;
    a.is_unready();
    let chain = chain_of([&a, &b]);
    let mut calls: Vec<_> = (0..80)
        .map(|_| task::spawn(chain.clone().call(())))
        .collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(a.polls(), 80);

    a.serves_after(SECOND);
    assert_pending!(calls.remove(0).poll());
    for mut call in calls {
        assert_eq!(assert_ready_ok!(call.poll()), "b");
    }
    assert_eq!(a.calls(), 1);
}

/// Rule 3; scenario 3.
#[tokio::test(start_paused = true)]
async fn dropped_future_frees_the_trial_slot() {
    let [a] = stubs();
    a.is_half_open().await;
    a.hangs();
    let mut call = task::spawn(chain_of([&a]).call(()));
    assert_pending!(call.poll());
    assert!(!a.provider().is_healthy());

    drop(call);
    assert_eq!(a.provider().health().retry_in, Some(SECOND));
    advance(SECOND).await;
    assert!(a.provider().admit().unwrap().is_trial());
}

/// Scenario 43.
#[tokio::test(start_paused = true)]
async fn nobody_notices_a_provider_that_flaps_for_ten_minutes() {
    let cache = HealthCache::default();
    let [a, b] = stubs_of(&cache);
    let chain = chain_of([&a, &b]);
    let mut transitions = cache.subscribe();

    for second in 0..600 {
        match second % 10 {
            0 => a.serves(),
            5 => a.fails("connection refused"),
            _ => {}
        }
        for _ in 0..10 {
            ask(&chain).await.unwrap();
            advance(SECOND / 10).await;
        }
    }

    drop((cache, chain, a, b));
    let mut changes = 0;
    while transitions.recv().await.is_some() {
        changes += 1;
    }
    // Each open window lasts a minute, so there are at most ten, with three transitions each.
    assert!((3..=30).contains(&changes), "{changes} transitions");
}

/// Scenario 45.
#[tokio::test(start_paused = true)]
async fn caller_who_walks_away_three_times_says_nothing_of_the_provider() {
    let [a, b] = stubs();
    a.hangs();
    for _ in 0..3 {
        let mut call = task::spawn(chain_of([&a, &b]).call(()));
        assert_pending!(call.poll());
    }
    let health = a.provider().health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!((a.running(), b.calls()), (0, 0));
}
