//! Defects of breakers seen in the field, which must be impossible here.
//!
//! | row | tested in |
//! |---|---|
//! | 1, 2 | `rules.rs`, rule 1 |
//! | 3, 4 | `rules.rs`, rule 3 |
//! | 5, 6 | `rules.rs`, rule 4 |
//! | 7, 12, 13 | `state_machine.rs` |
//! | 8, 9, 10, 14, 23 | below |
//! | 11 | `cache/transitions.rs` |
//! | 15 | `rules.rs`, rule 12 |
//! | 16 | `policy.rs` |
//! | 17, 22 | `rules.rs`, rule 9 |
//! | 18 | `rules.rs`, rule 5 |
//! | 19 | `rules.rs`, rule 7, and every call of [`Rig::health`] |
//! | 20 | `layer/contract.rs` |
//! | 21 | `cache/providers.rs` |
//! | 24 to 31 | `tests/probe`; 29 also in `state_machine.rs` |

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::advance;
use tower_health::{Backoff, Override, Policy, State, Trip};

use crate::rig::{Race, Rig, secs};

/// Scenario 8.
#[tokio::test(start_paused = true)]
async fn million_successes_do_not_delay_a_trip() {
    let policies = [
        Policy::new().trip(Trip::consecutive(4)),
        Policy::new().trip(Trip::failure_rate(1.0, secs(30)).min_calls(4)),
        Policy::new().trip(Trip::consecutive(4).or_failure_rate(0.5, secs(30))),
    ];
    for policy in policies {
        let rig = Rig::new(policy);
        for _ in 0..1_000_000 {
            rig.succeed();
        }
        advance(secs(30)).await;
        for _ in 0..3 {
            rig.fail();
            assert_eq!(rig.state(), State::Closed);
        }
        rig.fail();
        assert_eq!(rig.state(), State::Open);
    }
}

/// Scenario 9.
#[tokio::test(start_paused = true)]
async fn what_ages_out_of_the_window_wedges_nothing() {
    let policy = Policy::new()
        .trip(Trip::failure_rate(0.5, secs(10)).min_calls(4))
        .backoff(Backoff::constant(secs(1)));
    for idle in [0, 5, 9, 10, 11, 1_000] {
        let rig = Rig::new(policy.clone());
        rig.succeed();
        rig.trip();
        rig.await_half_open().await;
        advance(secs(idle)).await;
        let trial = rig.trial();
        advance(secs(idle)).await;
        trial.success();
        assert_eq!(rig.state(), State::Closed);
        rig.trip();
        assert_eq!(rig.health().consecutive_failures, 4);
    }
}

/// Scenario 10: a sleep of one millisecond for each would take half a minute.
#[test]
fn refusing_never_sleeps_however_many_ask_at_once() {
    const REFUSALS: u32 = 30_000;
    let rig = Rig::open(Policy::new().backoff(Backoff::constant(Duration::MAX)));
    let started = std::time::Instant::now();
    let race = Race::default();
    race.run(4, |_| {
        for _ in 0..REFUSALS {
            assert!(rig.admit().is_err());
        }
    });
    race.assert_contended();
    assert!(started.elapsed() < Duration::from_millis(1) * REFUSALS / 2);
}

/// Scenario 14.
#[tokio::test(start_paused = true)]
async fn gauges_that_follow_transitions_are_one_hot() {
    let rig = Rig::new(Policy::new());
    let mut transitions = rig.cache.subscribe();
    let mut gauges = HashMap::from([(State::Closed, 1), (State::Open, 0), (State::HalfOpen, 0)]);
    for round in 0..20 {
        rig.trip();
        rig.await_half_open().await;
        match round % 4 {
            0 => rig.succeed(),
            1 => rig.throttle(secs(1)),
            2 => rig.force(Override::Open, secs(1), "maintenance"),
            _ => rig.mark_unhealthy("down"),
        }
        advance(secs(3_600)).await;
        assert!(rig.is_healthy());
        rig.mark_healthy();
        assert_eq!(rig.state(), State::Closed);
    }
    let state = rig.state();
    drop(rig);
    while let Some(transition) = transitions.recv().await {
        *gauges.get_mut(&transition.from).unwrap() -= 1;
        *gauges.get_mut(&transition.to).unwrap() += 1;
        assert_eq!(gauges[&transition.to], 1);
        assert_eq!(gauges.values().sum::<i32>(), 1);
        assert!(gauges.values().all(|gauge| *gauge >= 0));
    }
    assert_eq!(gauges[&state], 1);
}

/// Scenario 23: each kept transition holds its provider's id, so the id's references count them.
#[tokio::test(start_paused = true)]
async fn flapping_fills_no_memory_even_when_a_subscriber_never_reads() {
    const BACKLOG: usize = 1_024;
    let rig = Rig::new(Policy::new());
    let id = rig.admit().unwrap().provider().unwrap();
    let kept = || Arc::strong_count(&id);
    let at_first = kept();
    for with_subscriber in [false, true] {
        let _never_read = with_subscriber.then(|| rig.cache.subscribe());
        for _ in 0..100_000 {
            rig.mark_unhealthy("x".repeat(1_000));
            rig.mark_unhealthy("y".repeat(1_000));
            rig.mark_healthy();
        }
        let backlog = if with_subscriber { BACKLOG } else { 0 };
        assert_eq!(kept(), at_first + backlog);
    }
}

/// Scenario 23: permits that are never dropped do not keep their slots.
#[tokio::test(start_paused = true)]
async fn forgotten_trials_take_no_slot_for_good() {
    let rig = Rig::half_open(Policy::new()).await;
    for _ in 0..10_000 {
        let mut trial = rig.trial();
        trial.release_slot();
        std::mem::forget(trial);
    }
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}
