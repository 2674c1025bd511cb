//! Slow start: each success admits more traffic.

use std::collections::VecDeque;

use tokio::time::advance;
use tower_health::{Backoff, Check, HealthProbe, Permit, Policy, State, Trials, Trip};

use crate::rig::{Rig, secs};

fn slow_start() -> Policy {
    Policy::new().trials(Trials::new(1).slow_start())
}

/// Takes every permit that the breaker gives now, up to 5,000.
fn all_admitted(rig: &Rig) -> Vec<Permit> {
    std::iter::from_fn(|| rig.provider.admit().ok())
        .take(5_000)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_success_adds_a_slot() {
    let rig = Rig::half_open(slow_start()).await;
    let mut in_flight = VecDeque::from(all_admitted(&rig));
    assert_eq!(in_flight.len(), 1);
    for succeeded in 1..=200 {
        in_flight.pop_front().unwrap().success();
        assert_eq!(rig.state(), State::HalfOpen);
        in_flight.extend(all_admitted(&rig));
        assert_eq!(in_flight.len(), succeeded + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn closes_when_half_of_the_slots_are_free() {
    let rig = Rig::half_open(slow_start()).await;
    let mut in_flight = VecDeque::from(all_admitted(&rig));
    for _ in 0..9 {
        in_flight.pop_front().unwrap().success();
        in_flight.extend(all_admitted(&rig));
    }
    assert_eq!(in_flight.len(), 10);
    // From here on, five calls are in flight.
    for _ in 0..5 {
        in_flight.pop_front().unwrap().success();
    }
    for succeeded in 15..=19 {
        assert_eq!(rig.state(), State::HalfOpen, "{succeeded} of the 9 and 10");
        in_flight.push_back(rig.call());
        in_flight.pop_front().unwrap().success();
    }
    in_flight.push_back(rig.call());
    in_flight.pop_front().unwrap().success();
    assert_eq!(rig.state(), State::Closed, "6 of 20 slots");
}

/// All slots are free for a moment, but as many calls as before may follow.
#[tokio::test(start_paused = true)]
async fn calls_that_end_together_do_not_close() {
    let rig = Rig::half_open(slow_start()).await;
    for slots in [1, 2, 4, 8, 16, 32] {
        let calls = all_admitted(&rig);
        assert_eq!(calls.len(), slots);
        calls.into_iter().for_each(Permit::success);
        assert_eq!(rig.state(), State::HalfOpen);
    }
    let calls: Vec<_> = (0..20).map(|_| rig.call()).collect();
    calls.into_iter().for_each(Permit::success);
    assert_eq!(rig.state(), State::Closed, "20 of 64");
}

#[tokio::test(start_paused = true)]
async fn closes_at_the_second_success_where_calls_come_one_by_one() {
    let rig = Rig::half_open(slow_start()).await;
    rig.succeed();
    assert_eq!(rig.state(), State::HalfOpen);
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn closes_after_1024_successes_however_many_wait() {
    let rig = Rig::half_open(slow_start()).await;
    let mut in_flight = VecDeque::from(all_admitted(&rig));
    for succeeded in 1..1_024 {
        in_flight.pop_front().unwrap().success();
        assert_eq!(rig.state(), State::HalfOpen, "{succeeded}");
        in_flight.extend(all_admitted(&rig));
    }
    in_flight.pop_front().unwrap().success();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn begins_where_the_breaker_would_close() {
    let trials = Trials::new(2).to_close(3).slow_start();
    let rig = Rig::half_open(Policy::new().trials(trials)).await;
    for succeeded in 0..3 {
        let two = all_admitted(&rig);
        assert_eq!(two.len(), 2, "{succeeded}");
        let mut two = two.into_iter();
        two.next().unwrap().success();
        two.for_each(Permit::neutral);
    }
    assert_eq!(rig.state(), State::HalfOpen);
    assert_eq!(all_admitted(&rig).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn failure_before_the_first_success_opens_again() {
    let rig = Rig::half_open(slow_start()).await;
    rig.fail();
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().failed_trials, 1);
}

/// If one failure opened it, a slow start of hundreds of calls would never end at a 5% error rate.
#[tokio::test(start_paused = true)]
async fn one_failure_among_successes_does_not_open() {
    let rig = Rig::half_open(slow_start()).await;
    let mut in_flight = VecDeque::from(all_admitted(&rig));
    for number in 1..100 {
        let call = in_flight.pop_front().unwrap();
        if number % 20 == 0 {
            call.failure("noise");
        } else {
            call.success();
        }
        in_flight.extend(all_admitted(&rig));
        assert_eq!(rig.state(), State::HalfOpen, "{number}");
    }
    assert_eq!(rig.health().failed_trials, 0);
}

#[tokio::test(start_paused = true)]
async fn failures_that_would_trip_a_closed_breaker_open_again_for_longer() {
    let backoff = Backoff::exponential(secs(10), secs(600));
    let rig = Rig::half_open(slow_start().backoff(backoff)).await;
    rig.succeed();
    let calls = all_admitted(&rig);
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert_eq!(rig.health().state, State::HalfOpen);
        call.failure("down again");
    }
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().failed_trials, 1);
    assert_eq!(rig.wait(), secs(20));
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_outage_do_not_count_in_the_start() {
    let rig = Rig::half_open(slow_start()).await;
    assert_eq!(rig.health().consecutive_failures, 2);
    rig.succeed();
    rig.fail();
    assert_eq!(rig.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn failure_rate_opens_again_too() {
    let trip = Trip::failure_rate(0.5, secs(30)).min_calls(4);
    let rig = Rig::half_open(slow_start().trip(trip)).await;
    rig.succeed();
    let mut calls = all_admitted(&rig).into_iter();
    calls.next().unwrap().failure("down");
    assert_eq!(rig.state(), State::HalfOpen, "1 of 1");
    calls.next().unwrap().failure("down");
    let mut calls = all_admitted(&rig).into_iter();
    calls.next().unwrap().failure("down");
    assert_eq!(rig.state(), State::HalfOpen, "3 of 3, of at least 4");
    calls.next().unwrap().failure("down");
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn throttle_and_fatal_failure_open_at_once() {
    let throttled: fn(Permit) = |call| call.throttled(Some(secs(5)), "slow down");
    let fatal: fn(Permit) = |call| call.fatal("key revoked");
    for opens in [throttled, fatal] {
        let rig = Rig::half_open(slow_start()).await;
        rig.succeed();
        opens(rig.call());
        assert_eq!(rig.state(), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_keep_their_slots_for_the_pause() {
    let rig = Rig::half_open(slow_start()).await;
    rig.succeed();
    drop(all_admitted(&rig));
    assert!(rig.admit().is_err());
    advance(secs(1)).await;
    assert_eq!(all_admitted(&rig).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn start_that_is_interrupted_begins_at_one() {
    let rig = Rig::half_open(slow_start()).await;
    let mut in_flight = VecDeque::from(all_admitted(&rig));
    for _ in 0..50 {
        in_flight.pop_front().unwrap().success();
        in_flight.extend(all_admitted(&rig));
    }
    let late = in_flight.split_off(2);
    for call in in_flight {
        call.failure("down");
    }
    rig.await_half_open().await;
    late.into_iter().for_each(Permit::success);
    assert_eq!(rig.state(), State::HalfOpen);
    assert_eq!(all_admitted(&rig).len(), 1);
}

mod checks {
    use super::*;

    fn functional(rig: &Rig) -> HealthProbe {
        let check = Check::new(|| async { Ok::<_, String>(()) }).functional();
        HealthProbe::new(&rig.cache).check_with(Rig::ID, check)
    }

    #[tokio::test(start_paused = true)]
    async fn check_that_would_close_begins_the_start() {
        let rig = Rig::open(slow_start());
        let probe = functional(&rig);
        probe.round().await;
        assert_eq!(rig.state(), State::HalfOpen);
        assert_eq!(all_admitted(&rig).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn check_closes_a_provider_that_nobody_calls() {
        let rig = Rig::open(slow_start());
        let probe = functional(&rig);
        probe.round().await;
        probe.round().await;
        assert_eq!(rig.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn check_does_not_close_while_calls_wait_for_slots() {
        let rig = Rig::open(slow_start());
        let probe = functional(&rig);
        probe.round().await;
        let mut in_flight = Vec::new();
        for _ in 0..20 {
            in_flight.extend(all_admitted(&rig));
            probe.round().await;
            assert_eq!(rig.state(), State::HalfOpen);
        }
    }

    /// Rule 13.
    #[tokio::test(start_paused = true)]
    async fn live_calls_start_after_the_check_where_only_checks_try() {
        let trials = Trials::new(1).by_probe_only(true).slow_start();
        let rig = Rig::open(Policy::new().trials(trials));
        advance(secs(60)).await;
        assert!(rig.admit().is_err());
        functional(&rig).round().await;
        assert_eq!(rig.state(), State::HalfOpen);
        assert_eq!(all_admitted(&rig).len(), 2);
    }
}
