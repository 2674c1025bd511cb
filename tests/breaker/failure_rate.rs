//! The failure rate of a window: every call counts once, for as long as its bucket lasts.

use tokio::time::advance;
use tower_health::{Policy, State, Trip};

use crate::rig::{MOMENT, Race, Rig, just_under, secs};

const WINDOW: u64 = 10;

fn policy() -> Policy {
    Policy::new().trip(Trip::failure_rate(0.5, secs(WINDOW)).min_calls(1))
}

fn succeed(rig: &Rig, times: usize) {
    for _ in 0..times {
        rig.admit().unwrap().success();
    }
}

/// Returns the number of failures until the breaker trips, which equals the number of successes in the window.
fn failures_to_trip(rig: &Rig) -> usize {
    let mut failures = 0;
    while rig.provider.is_healthy() {
        rig.admit().unwrap().failure("down");
        failures += 1;
    }
    failures
}

#[tokio::test(start_paused = true)]
async fn success_that_makes_the_calls_enough_is_judged_too() {
    for first in [0, 1] {
        let rig = Rig::new(Policy::new().trip(Trip::failure_rate(0.5, secs(WINDOW)).min_calls(4)));
        succeed(&rig, first);
        rig.fail();
        rig.fail();
        succeed(&rig, 1 - first);
        assert_eq!(rig.state(), State::Closed, "three calls are not four");
        succeed(&rig, 1);
        assert_eq!(rig.state(), State::Open, "half of four failed");
    }
}

#[tokio::test(start_paused = true)]
async fn success_is_judged_once_others_have_expired_though_somebody_looked_before() {
    let rig = Rig::new(Policy::new().trip(Trip::failure_rate(0.25, secs(WINDOW)).min_calls(3)));
    succeed(&rig, 4);
    advance(secs(1)).await;
    rig.fail();
    succeed(&rig, 2);
    advance(secs(WINDOW - 1)).await;
    assert_eq!(rig.state(), State::Closed, "a look trips nothing");
    succeed(&rig, 1);
    assert_eq!(rig.state(), State::Open, "one of four failed");
}

#[tokio::test(start_paused = true)]
async fn answers_are_calls_that_did_not_fail() {
    let rig = Rig::new(Policy::new().trip(Trip::failure_rate(0.5, secs(WINDOW)).min_calls(4)));
    for _ in 0..5 {
        rig.call().answered();
    }
    for failures in 1..5 {
        rig.fail();
        assert_eq!(
            rig.state(),
            State::Closed,
            "{failures} of {} failed",
            5 + failures
        );
    }
    rig.fail();
    assert_eq!(rig.state(), State::Open, "half of ten failed");

    let rig = Rig::new(Policy::new().trip(Trip::failure_rate(0.5, secs(WINDOW)).min_calls(4)));
    rig.fail();
    rig.fail();
    rig.call().answered();
    assert_eq!(rig.state(), State::Closed);
    rig.call().answered();
    assert_eq!(
        rig.state(),
        State::Open,
        "an answer may make the calls enough"
    );
}

#[tokio::test(start_paused = true)]
async fn successes_count_until_the_window_has_passed_to_the_nanosecond() {
    for (age, counted) in [(just_under(secs(WINDOW)), 100), (secs(WINDOW), 1)] {
        let rig = Rig::new(policy());
        succeed(&rig, 100);
        advance(age).await;
        assert_eq!(failures_to_trip(&rig), counted);
    }
}

#[tokio::test(start_paused = true)]
async fn each_success_expires_with_its_own_bucket() {
    let rig = Rig::new(policy());
    for bucket in 1..=10 {
        succeed(&rig, bucket);
        advance(secs(1)).await;
    }
    // The first bucket has expired, with its one success.
    assert_eq!(failures_to_trip(&rig), (2..=10).sum::<usize>());
}

#[tokio::test(start_paused = true)]
async fn success_at_the_end_of_a_bucket_or_after_it_is_of_the_next() {
    for later in [MOMENT, 2 * MOMENT] {
        let rig = Rig::new(policy());
        succeed(&rig, 3);
        advance(just_under(secs(1))).await;
        succeed(&rig, 20);
        advance(later).await;
        succeed(&rig, 30);

        advance(secs(9)).await;
        assert_eq!(failures_to_trip(&rig), 30);
    }
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn success_from_before_a_trip_does_not_count_after_it() {
    let rig = Rig::new(policy());
    succeed(&rig, 10);
    let late: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    rig.trip();
    rig.provider.mark_healthy();
    succeed(&rig, 3);
    for permit in late {
        permit.success();
    }
    assert_eq!(failures_to_trip(&rig), 3);
}

#[tokio::test(start_paused = true)]
async fn successes_from_before_a_trip_are_forgotten() {
    let rig = Rig::new(policy());
    succeed(&rig, 10);
    rig.trip();
    rig.provider.mark_healthy();
    succeed(&rig, 3);
    assert_eq!(failures_to_trip(&rig), 3);
}

#[tokio::test(start_paused = true)]
async fn successes_survive_a_new_ratio_and_not_a_new_window() {
    let stricter = Trip::failure_rate(0.25, secs(WINDOW)).min_calls(1);
    let longer = Trip::failure_rate(0.5, secs(2 * WINDOW)).min_calls(1);
    for (trip, counted) in [(stricter, 10), (longer, 1)] {
        let rig = Rig::new(policy());
        succeed(&rig, 30);
        rig.provider.set_policy(Policy::new().trip(trip));
        assert_eq!(failures_to_trip(&rig), counted);
    }
}

/// Successes are counted without a lock.
#[test]
fn every_success_counts_whoever_else_has_one_or_looks() {
    const THREADS: usize = 4;
    const CALLS: usize = 10_000;
    let hours = Policy::new().trip(Trip::failure_rate(0.5, secs(60 * 60)).min_calls(1));
    let race = Race::default();
    for _ in race.rounds(3) {
        let rig = Rig::new(hours.clone());
        race.run(THREADS, |number| {
            for call in 0..CALLS {
                rig.admit().unwrap().success();
                if number == 0 && call % 100 == 0 {
                    let _ = rig.cache.snapshot();
                }
            }
        });
        assert_eq!(failures_to_trip(&rig), THREADS * CALLS);
    }
    race.assert_contended();
}

/// A new provider that reuses the memory of an old one starts with an empty window.
#[tokio::test(start_paused = true)]
async fn successes_of_providers_that_are_gone_do_not_count_for_those_that_come_after() {
    const PROVIDERS: usize = 64;
    let gone: Vec<_> = (0..PROVIDERS).map(|_| Rig::new(policy())).collect();
    for rig in &gone {
        succeed(rig, 10);
    }
    drop(gone);

    for _ in 0..PROVIDERS {
        let rig = Rig::new(policy());
        succeed(&rig, 2);
        assert_eq!(failures_to_trip(&rig), 2);
    }
}

/// A bucket's counter holds sixteen million; this is one more.
#[test]
fn no_success_is_lost_where_there_are_more_than_can_be_counted_at_once() {
    const MANY: u32 = (1 << 24) + 1;
    let one_in_many = Trip::failure_rate(f64::from(MANY).recip(), secs(60 * 60)).min_calls(1);
    let rig = Rig::new(Policy::new().trip(one_in_many));
    for _ in 0..MANY {
        rig.admit().unwrap().success();
    }
    rig.fail();
    assert!(rig.provider.is_healthy());
}
