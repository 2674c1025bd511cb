//! The outcomes of a call (section 2 of the design) and the state machine (section 3), row by row.

use std::time::Duration;

use tokio::time::{Instant, advance};
use tower_health::{Backoff, Cause, Outcome, Override, Policy, State, Throttle, Trials, Trip};

use crate::rig::{MOMENT, Rig, just_under, secs, without_jitter};

fn doubling() -> Policy {
    Policy::new().backoff(Backoff::exponential(secs(10), secs(60)))
}

fn half_of_four() -> Policy {
    Policy::new().trip(Trip::failure_rate(0.5, secs(30)).min_calls(4))
}

fn failure_with(wait: Duration) -> Outcome {
    Outcome::Failure {
        reason: "down".into(),
        retry_after: Some(wait),
    }
}

// Outcomes.

#[tokio::test(start_paused = true)]
async fn success_ends_the_streak() {
    let rig = Rig::new(Policy::new());
    for _ in 0..3 {
        rig.fail();
        assert_eq!(rig.health().consecutive_failures, 1);
        rig.succeed();
        assert_eq!(rig.health().consecutive_failures, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn success_counts_in_the_window() {
    let rig = Rig::new(half_of_four());
    for _ in 0..4 {
        rig.succeed();
    }
    for _ in 0..3 {
        rig.fail();
    }
    assert_eq!(rig.state(), State::Closed, "three of seven");
    rig.fail();
    assert_eq!(rig.state(), State::Open, "four of eight");
}

#[tokio::test(start_paused = true)]
async fn failure_counts_and_trips_at_the_limit() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(3)));
    for failures in 1..3 {
        rig.fail();
        assert_eq!(rig.state(), State::Closed);
        assert_eq!(rig.health().consecutive_failures, failures);
    }
    rig.fail();
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().consecutive_failures, 3);
}

#[tokio::test(start_paused = true)]
async fn failure_that_names_a_time_opens_for_at_least_that_long() {
    for (named, wait) in [(7, 60), (90, 90), (1_000_000, 3_600)] {
        let rig = Rig::new(without_jitter(Policy::new()));
        for _ in 0..2 {
            assert_eq!(
                rig.state(),
                State::Closed,
                "a named time alone trips nothing"
            );
            rig.call().record(failure_with(secs(named)));
        }
        assert_eq!(rig.wait(), secs(wait));
        assert_eq!(rig.health().cause, Some(Cause::Failures));
    }
}

#[tokio::test(start_paused = true)]
async fn failed_trial_that_names_a_time_opens_for_at_least_that_long() {
    let rig = Rig::half_open(without_jitter(doubling())).await;
    rig.trial().record(failure_with(secs(90)));
    assert_eq!(rig.wait(), secs(90));
    rig.await_half_open().await;
    rig.trial().record(failure_with(secs(1)));
    assert_eq!(rig.wait(), secs(40), "the third level of the backoff");
}

#[tokio::test(start_paused = true)]
async fn throttled_waits_as_long_as_the_provider_named_within_bounds() {
    let year = secs(365 * 24 * 3600);
    let impatient = Throttle::default().default_wait(secs(2)).max_wait(secs(30));
    for (throttle, named, wait) in [
        (Throttle::default(), Some(secs(7)), secs(7)),
        (Throttle::default(), Some(MOMENT), MOMENT),
        (Throttle::default(), None, secs(15)),
        (Throttle::default(), Some(10 * year), secs(3_600)),
        (Throttle::default(), Some(Duration::MAX), secs(3_600)),
        (impatient.clone(), None, secs(2)),
        (impatient.clone(), Some(secs(31)), secs(30)),
        (impatient.default_wait(secs(31)), None, secs(30)),
    ] {
        let rig = Rig::new(without_jitter(Policy::new().throttle(throttle)));
        rig.call().throttled(named, "slow down");
        assert_eq!(rig.state(), State::Open);
        assert_eq!(rig.wait(), wait);
        advance(wait).await;
        assert!(rig.trial().is_trial());
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_for_no_time_is_on_trial_at_once() {
    let rig = Rig::new(Policy::new());
    rig.throttle(Duration::ZERO);
    assert_eq!(rig.state(), State::HalfOpen);
    let _trial = rig.trial();
    assert_eq!(rig.wait(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn throttles_in_a_row_that_name_no_time_double_the_wait_up_to_five_minutes() {
    let rig = Rig::new(without_jitter(Policy::new()));
    for wait in [15, 30, 60, 120, 240, 300, 300] {
        rig.call().throttled(None, "slow down");
        assert_eq!(rig.wait(), secs(wait));
        rig.await_half_open().await;
    }
    rig.call().throttled(Some(secs(7)), "slow down");
    rig.await_half_open().await;
    rig.call().throttled(None, "slow down");
    assert_eq!(rig.wait(), secs(15), "a named time ends the row");
    rig.await_half_open().await;
    rig.succeed();
    rig.call().throttled(None, "slow down");
    assert_eq!(rig.wait(), secs(15), "and so does a success");
}

#[tokio::test(start_paused = true)]
async fn waits_of_throttles_grow_to_their_bounds() {
    for (default_wait, max_wait, waits) in [
        (200, 3_600, [200, 300, 300]),
        (400, 3_600, [400, 400, 400]),
        (15, 20, [15, 20, 20]),
    ] {
        let throttle = Throttle::default()
            .default_wait(secs(default_wait))
            .max_wait(secs(max_wait));
        let rig = Rig::new(without_jitter(Policy::new().throttle(throttle)));
        for wait in waits {
            rig.call().throttled(None, "slow down");
            assert_eq!(rig.wait(), secs(wait));
            rig.await_half_open().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttles_of_calls_at_once_are_one() {
    let rig = Rig::new(without_jitter(Policy::new()));
    let calls: Vec<_> = (0..10).map(|_| rig.call()).collect();
    for call in calls {
        call.throttled(None, "slow down");
        assert_eq!(rig.wait(), secs(15));
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_is_no_strike() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    rig.throttle(secs(5));
    assert_eq!(rig.health().consecutive_failures, 1);
    assert_eq!(rig.health().cause, Some(Cause::Throttled));
    rig.await_half_open().await;
    rig.throttle(secs(5));
    assert_eq!(rig.health().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn throttled_does_not_lengthen_the_backoff() {
    let rig = Rig::half_open(without_jitter(doubling())).await;
    for _ in 0..3 {
        rig.throttle(secs(5));
        assert_eq!(rig.wait(), secs(5));
        rig.await_half_open().await;
    }
    rig.fail();
    assert_eq!(rig.wait(), secs(20), "the first failed trial");
}

#[tokio::test(start_paused = true)]
async fn neutral_leaves_streak_and_window() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    rig.call().neutral();
    drop(rig.call());
    assert_eq!(rig.health().consecutive_failures, 1);
    rig.fail();
    assert_eq!(rig.state(), State::Open);

    let rig = Rig::new(half_of_four());
    rig.fail();
    rig.fail();
    for _ in 0..10 {
        rig.call().neutral();
    }
    rig.fail();
    assert_eq!(rig.state(), State::Closed, "three calls are too few");
    rig.fail();
    assert_eq!(rig.state(), State::Open, "neutral calls did not dilute");
}

#[tokio::test(start_paused = true)]
async fn three_answers_in_a_row_end_a_streak() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    for streak in [1, 1, 0] {
        rig.call().answered();
        assert_eq!(rig.health().consecutive_failures, streak);
    }
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn answers_with_a_failure_between_them_are_not_in_a_row() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(3)));
    for _ in 0..2 {
        rig.fail();
        rig.call().answered();
        rig.call().answered();
    }
    assert_eq!(rig.health().consecutive_failures, 2);
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn neutral_calls_between_answers_do_not_count() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    for _ in 0..2 {
        rig.call().answered();
        rig.call().neutral();
        drop(rig.call());
    }
    assert_eq!(rig.health().consecutive_failures, 1);
    rig.call().answered();
    assert_eq!(rig.health().consecutive_failures, 0);
}

// Closed.

#[tokio::test(start_paused = true)]
async fn closed_trips_for_one_backoff_from_the_last_failure() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    advance(secs(30)).await;
    rig.call().failure("gone");

    let health = rig.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.last_error.unwrap(), "gone");
    assert_eq!(health.since, Some(Instant::now()));
    assert_eq!(health.retry_in, Some(secs(60)));
}

#[tokio::test(start_paused = true)]
async fn closed_trips_by_marks_as_by_calls() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(3)));
    rig.mark_unhealthy("marked");
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
    rig.mark_unhealthy("marked");
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().cause, Some(Cause::Failures));

    let rig = Rig::new(half_of_four());
    for _ in 0..4 {
        assert_eq!(rig.state(), State::Closed);
        rig.mark_unhealthy("marked");
    }
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failure_rate_alone_does_not_mind_a_streak() {
    let rig = Rig::new(Policy::new().trip(Trip::failure_rate(0.5, secs(30)).min_calls(100)));
    for _ in 0..99 {
        rig.fail();
    }
    assert_eq!(rig.state(), State::Closed);
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failure_rate_forgets_calls_older_than_its_window() {
    let rig = Rig::new(half_of_four());
    for _ in 0..3 {
        rig.fail();
    }
    advance(secs(30)).await;
    for _ in 0..3 {
        rig.fail();
        assert_eq!(rig.state(), State::Closed);
    }
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failure_rate_starts_empty_after_an_outage() {
    let rig = Rig::half_open(half_of_four().backoff(Backoff::constant(secs(1)))).await;
    rig.succeed();
    for _ in 0..3 {
        rig.fail();
        assert_eq!(rig.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn either_of_both_trips() {
    let either = || {
        let trip = Trip::consecutive(5).or_failure_rate(0.5, secs(30));
        Policy::new().trip(trip.min_calls(8))
    };

    let by_streak = Rig::new(either());
    for _ in 0..5 {
        assert_eq!(by_streak.state(), State::Closed);
        by_streak.fail();
    }
    assert_eq!(by_streak.state(), State::Open);

    let by_rate = Rig::new(either());
    for _ in 0..4 {
        assert_eq!(by_rate.state(), State::Closed);
        by_rate.succeed();
        by_rate.fail();
    }
    assert_eq!(by_rate.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_success_is_a_failure() {
    let policy = Policy::new().trip(Trip::consecutive(2).slow_call(secs(3)));
    let rig = Rig::new(policy);
    for (took, failures) in [
        (just_under(secs(3)), 0),
        (secs(3), 1),
        (Duration::ZERO, 0),
        (secs(9), 1),
        (secs(3), 2),
    ] {
        let call = rig.call();
        advance(took).await;
        call.success();
        assert_eq!(rig.health().consecutive_failures, failures);
    }
    assert_eq!(rig.state(), State::Open);
    assert_eq!(
        rig.health().last_error.unwrap(),
        "slow: no answer within 3s"
    );

    rig.await_half_open().await;
    let trial = rig.trial();
    advance(secs(3)).await;
    trial.success();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_failures_and_slow_neutral_calls_stay_what_they_are() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(2).slow_call(secs(3))));
    let (failed, neutral, dropped) = (rig.call(), rig.call(), rig.call());
    advance(secs(3)).await;
    neutral.neutral();
    drop(dropped);
    assert_eq!(rig.health().consecutive_failures, 0);
    failed.failure("down");
    assert_eq!(rig.health().last_error.unwrap(), "down");
}

// Open.

#[tokio::test(start_paused = true)]
async fn open_refuses_until_the_deadline_and_then_tries() {
    let rig = Rig::open(Policy::new());
    advance(just_under(secs(60))).await;
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.provider(), Rig::ID);
    assert_eq!(refusal.state(), State::Open);
    assert_eq!(refusal.cause(), Some(Cause::Failures));
    assert_eq!(refusal.retry_in(), MOMENT);
    assert_eq!(*refusal.last_error().unwrap(), "down");

    advance(MOMENT).await;
    assert!(rig.call().is_trial());
    assert_eq!(rig.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn open_waits_for_a_full_backoff_after_each_mark() {
    let rig = Rig::open(Policy::new());
    for _ in 0..5 {
        advance(secs(20)).await;
        rig.mark_unhealthy("still down");
        assert_eq!(rig.wait(), secs(60));
    }
    assert_eq!(rig.health().consecutive_failures, 7);
    assert_eq!(rig.health().last_error.unwrap(), "still down");
}

#[tokio::test(start_paused = true)]
async fn open_is_never_shortened_by_a_mark() {
    let rig = Rig::open(Policy::new());
    rig.set_policy(Policy::new().backoff(Backoff::constant(secs(1))));
    rig.mark_unhealthy("still down");
    assert_eq!(rig.wait(), secs(60));

    let longer_than_it_is_held = Backoff::constant(secs(60)).max_hold(secs(10));
    let rig = Rig::open(Policy::new().backoff(longer_than_it_is_held));
    advance(secs(20)).await;
    rig.mark_unhealthy("still down");
    assert_eq!(rig.wait(), secs(40));
}

/// Scenario 29.
#[tokio::test(start_paused = true)]
async fn marks_hold_it_open_up_to_max_hold_and_no_longer() {
    let rig = Rig::open(Policy::new());
    for second in 1..600 {
        advance(secs(1)).await;
        rig.mark_unhealthy("still down");
        assert_eq!(rig.state(), State::Open);
        assert_eq!(rig.wait(), secs(60.min(600 - second)));
    }
    advance(secs(1)).await;
    rig.mark_unhealthy("still down");
    assert!(rig.call().is_trial());
}

#[tokio::test(start_paused = true)]
async fn max_hold_counts_from_each_trip_and_each_failed_trial() {
    let policy = Policy::new().backoff(Backoff::constant(secs(60)).max_hold(secs(90)));
    let rig = Rig::open(policy);
    for _ in 0..3 {
        advance(secs(50)).await;
        rig.mark_unhealthy("still down");
        assert_eq!(rig.wait(), secs(40));
        rig.await_half_open().await;
        rig.fail();
        assert_eq!(rig.wait(), secs(60));
    }
}

// Half-open.

#[tokio::test(start_paused = true)]
async fn half_open_refuses_without_a_free_slot() {
    let rig = Rig::half_open(Policy::new()).await;
    let trial = rig.trial();
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.state(), State::HalfOpen);
    assert_eq!(refusal.cause(), Some(Cause::Failures));
    assert_eq!(refusal.retry_in(), secs(60), "the lease");

    trial.neutral();
    let _next = rig.trial();
}

#[tokio::test(start_paused = true)]
async fn half_open_closes_after_as_many_successes_as_it_takes() {
    for (at_once, to_close) in [(1, 1), (1, 3), (3, 2), (3, 3), (2, 5)] {
        let policy = Policy::new().trials(Trials::new(at_once).to_close(to_close));
        let rig = Rig::half_open(policy).await;
        for _ in 0..to_close {
            assert_eq!(rig.state(), State::HalfOpen);
            rig.trial().success();
        }
        let health = rig.health();
        assert_eq!(health.state, State::Closed);
        assert_eq!(health.consecutive_failures, 0);
        assert_eq!(health.cause, None);
        assert_eq!(health.since, Some(Instant::now()));
        assert!(!rig.call().is_trial());
    }
}

#[tokio::test(start_paused = true)]
async fn success_of_a_trial_ends_the_streak_though_it_takes_more_to_close() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(1).to_close(2))).await;
    assert_eq!(rig.health().consecutive_failures, 2);
    rig.trial().success();
    assert_eq!(rig.health().consecutive_failures, 0);
    rig.trial().failure("down");
    assert_eq!(rig.health().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn trials_at_once_count_together_and_one_failure_undoes_them() {
    let rig = Rig::half_open(doubling().trials(Trials::new(3).to_close(3))).await;
    let trials = [rig.trial(), rig.trial(), rig.trial()];
    assert!(rig.admit().is_err());
    let [first, second, third] = trials;
    first.success();
    second.success();
    third.failure("down");
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(20));

    rig.await_half_open().await;
    rig.trial().success();
    rig.trial().success();
    assert_eq!(rig.state(), State::HalfOpen, "counted anew");
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn failed_trial_opens_again_at_the_next_level() {
    let rig = Rig::open(doubling());
    for wait in [10, 20, 40, 60, 60] {
        assert_eq!(rig.wait(), secs(wait));
        rig.await_half_open().await;
        rig.trial().failure("down");
        assert_eq!(rig.health().cause, Some(Cause::Failures));
        assert_eq!(rig.health().since, Some(Instant::now()));
    }
}

/// Scenario 7.
#[tokio::test(start_paused = true)]
async fn neutral_trial_leaves_it_half_open_with_a_free_slot() {
    let rig = Rig::half_open(Policy::new()).await;
    for _ in 0..10 {
        rig.trial().neutral();
        assert_eq!(rig.state(), State::HalfOpen);
        assert!(rig.is_healthy());
    }
}

#[tokio::test(start_paused = true)]
async fn three_answered_trials_in_a_row_count_as_one_success() {
    for to_close in [1, 2] {
        let rig = Rig::half_open(Policy::new().trials(Trials::new(1).to_close(to_close))).await;
        for _ in 1..3 * to_close {
            rig.trial().answered();
            assert_eq!(rig.state(), State::HalfOpen);
            assert!(rig.is_healthy(), "the slot is free at once");
        }
        rig.trial().answered();
        assert_eq!(rig.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_one_half_open_time_are_in_no_row_with_those_of_the_next() {
    let rig = Rig::half_open(Policy::new()).await;
    rig.trial().answered();
    rig.trial().answered();
    rig.trial().failure("down");
    rig.await_half_open().await;
    rig.trial().answered();
    rig.trial().answered();
    assert_eq!(rig.state(), State::HalfOpen);
    rig.trial().answered();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn throttled_trial_waits_as_long_as_was_named() {
    let rig = Rig::half_open(without_jitter(Policy::new())).await;
    rig.throttle(secs(7));
    assert_eq!(rig.health().cause, Some(Cause::Throttled));
    assert_eq!(rig.health().last_error.unwrap(), "slow down");
    assert_eq!(rig.wait(), secs(7));
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn mark_in_half_open_opens_at_the_same_level() {
    let rig = Rig::half_open(doubling()).await;
    let (trial, free) = (rig.trial(), rig.is_healthy());
    assert!(!free);
    rig.mark_unhealthy("still down");
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(60), "as long as the trial is in flight");
    trial.success();
    assert_eq!(rig.state(), State::Open, "the trial was of another round");
    assert_eq!(rig.wait(), secs(10));

    rig.await_half_open().await;
    rig.fail();
    assert_eq!(rig.wait(), secs(20), "the first failed trial");
}

/// Scenario 29.
#[tokio::test(start_paused = true)]
async fn marks_in_half_open_keep_a_trial_away_up_to_max_hold_and_no_longer() {
    let rig = Rig::half_open(Policy::new()).await;
    for minute in 1..10 {
        rig.mark_unhealthy("still down");
        assert_eq!(rig.wait(), secs(60), "in minute {minute}");
        rig.await_half_open().await;
    }
    rig.mark_unhealthy("still down");
    assert_eq!(rig.state(), State::HalfOpen);
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

// Any state.

#[tokio::test(start_paused = true)]
async fn mark_healthy_closes_and_clears_everything() {
    for stage in ["closed", "throttled", "open", "half-open", "on trial"] {
        let rig = Rig::new(doubling());
        match stage {
            "closed" => rig.fail(),
            "throttled" => rig.throttle(secs(60)),
            _ => {
                rig.trip();
                rig.await_half_open().await;
                rig.fail();
            }
        }
        if stage == "half-open" || stage == "on trial" {
            rig.await_half_open().await;
        }
        let call = (stage == "on trial").then(|| rig.trial());

        rig.mark_healthy();
        let health = rig.health();
        assert_eq!(health.state, State::Closed, "{stage}");
        assert_eq!(health.consecutive_failures, 0, "{stage}");
        assert_eq!(health.cause, None, "{stage}");
        assert_eq!(health.last_error, None, "{stage}");
        assert_eq!(health.last_check, Some(Instant::now()), "{stage}");

        drop(call);
        rig.fail();
        assert_eq!(rig.state(), State::Closed, "{stage}: a streak of one");
        rig.fail();
        assert_eq!(rig.wait(), secs(10), "{stage}: the first level");
    }
}

/// Scenario 12.
#[tokio::test(start_paused = true)]
async fn mark_healthy_while_closed_clears_the_window() {
    let rig = Rig::new(half_of_four());
    for _ in 0..3 {
        rig.fail();
    }
    rig.mark_healthy();
    for _ in 0..3 {
        rig.fail();
        assert_eq!(rig.state(), State::Closed);
    }
}

// Forced.

/// Scenario 13.
#[tokio::test(start_paused = true)]
async fn forced_open_refuses_until_its_time_ends() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Open, secs(100), "maintenance");
    let health = rig.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Forced));
    assert_eq!(health.since, Some(Instant::now()));
    assert_eq!(health.retry_in, Some(secs(100)));

    advance(just_under(secs(100))).await;
    assert_eq!(rig.wait(), MOMENT);
    advance(MOMENT).await;
    let health = rig.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.cause, None);
    assert!(!rig.call().is_trial());
}

#[tokio::test(start_paused = true)]
async fn forced_open_ends_when_unforced() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Open, Duration::MAX, "maintenance");
    advance(secs(365 * 24 * 3600)).await;
    assert_eq!(rig.state(), State::Open);
    rig.unforce();
    assert_eq!(rig.state(), State::Closed);
    rig.unforce();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn forced_open_counts_the_verdicts_of_calls_begun_before() {
    let rig = Rig::new(Policy::new());
    let calls = [rig.call(), rig.call()];
    rig.force(Override::Open, secs(10), "maintenance");
    for call in calls {
        call.failure("down");
    }
    assert_eq!(rig.health().cause, Some(Cause::Forced));
    assert_eq!(rig.health().consecutive_failures, 2);
    assert_eq!(rig.wait(), secs(60), "of the window beneath");
    advance(secs(10)).await;
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().cause, Some(Cause::Failures));
    assert_eq!(rig.wait(), secs(50));
}

#[tokio::test(start_paused = true)]
async fn forced_open_outlasts_the_window_beneath() {
    let rig = Rig::open(Policy::new());
    rig.force(Override::Open, secs(100), "maintenance");
    advance(secs(61)).await;
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(39));
    rig.unforce();
    assert_eq!(rig.state(), State::HalfOpen);
    assert!(rig.call().is_trial());
}

#[tokio::test(start_paused = true)]
async fn forced_open_over_a_half_open_round_lets_its_trial_close_beneath() {
    let rig = Rig::half_open(Policy::new()).await;
    let trial = rig.trial();
    rig.force(Override::Open, secs(10), "maintenance");
    trial.success();
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(10));
    rig.unforce();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn forced_closed_admits_what_is_open_beneath_and_does_not_count_it() {
    let rig = Rig::open(doubling());
    rig.force(Override::Closed, secs(5), "they promised");
    let health = rig.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.cause, Some(Cause::Forced));
    for _ in 0..3 {
        rig.fail();
        rig.succeed();
    }
    assert_eq!(rig.health().consecutive_failures, 2);
    advance(secs(5)).await;
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().cause, Some(Cause::Failures));
    assert_eq!(rig.wait(), secs(5), "the window beneath is what it was");
}

#[tokio::test(start_paused = true)]
async fn forced_closed_counts_beneath_while_closed_beneath() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Closed, secs(90), "trust me");
    rig.fail();
    rig.mark_unhealthy("down");
    assert_eq!(rig.state(), State::Closed);
    assert_eq!(rig.health().consecutive_failures, 2);
    rig.unforce();
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn forced_closed_over_a_half_open_round_has_its_trials_decide_beneath() {
    let rig = Rig::half_open(doubling()).await;
    rig.force(Override::Closed, secs(90), "trust me");
    let trial = rig.trial();
    let stranger = rig.call();
    assert!(!stranger.is_trial(), "no slot is free beneath");
    stranger.failure("down");
    trial.success();
    rig.unforce();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn last_force_is_the_one_that_holds() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Open, secs(100), "maintenance");
    rig.force(Override::Closed, secs(10), "done early");
    assert_eq!(rig.state(), State::Closed);
    rig.force(Override::Open, secs(5), "not done");
    advance(secs(5)).await;
    let health = rig.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.cause, None, "nothing of the earlier ones is left");
}

#[tokio::test(start_paused = true)]
async fn mark_healthy_clears_beneath_a_force_that_stands() {
    let rig = Rig::open(Policy::new());
    rig.force(Override::Open, secs(10), "maintenance");
    rig.mark_healthy();
    assert_eq!(rig.health().cause, Some(Cause::Forced));
    assert_eq!(rig.wait(), secs(10));
    advance(secs(10)).await;
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn force_for_no_time_is_over_at_once() {
    for to in [Override::Open, Override::Closed] {
        let rig = Rig::new(Policy::new());
        rig.force(to, Duration::ZERO, "oops");
        assert_eq!(rig.state(), State::Closed);
        assert_eq!(rig.health().cause, None);
    }
}

#[tokio::test(start_paused = true)]
async fn state_is_held_since_it_was_first_seen_whoever_held_it() {
    let rig = Rig::open(Policy::new());
    let tripped = Instant::now();
    advance(secs(10)).await;
    rig.force(Override::Open, secs(10), "maintenance");
    assert_eq!(rig.health().since, Some(tripped));
    advance(secs(10)).await;
    assert_eq!(rig.health().since, Some(tripped));

    rig.force(Override::Closed, secs(10), "trust me");
    assert_eq!(rig.health().since, Some(tripped + secs(20)));
    advance(secs(10)).await;
    assert_eq!(rig.health().since, Some(tripped + secs(30)));

    let rig = Rig::new(Policy::new());
    let forced = Instant::now();
    let calls = [rig.call(), rig.call()];
    rig.force(Override::Open, secs(10), "maintenance");
    advance(secs(5)).await;
    for call in calls {
        call.failure("down");
    }
    advance(secs(5)).await;
    assert_eq!(rig.health().cause, Some(Cause::Failures));
    assert_eq!(rig.health().since, Some(forced));
}

#[tokio::test(start_paused = true)]
async fn half_open_since_the_window_ended_even_when_a_force_ended_unseen_before() {
    for to in [Override::Open, Override::Closed] {
        let rig = Rig::open(Policy::new());
        let tripped = Instant::now();
        rig.force(to, secs(10), "for a while");
        advance(secs(100)).await;
        let health = rig.health();
        assert_eq!(health.state, State::HalfOpen);
        assert_eq!(health.since, Some(tripped + secs(60)));
    }
}

// Granted.

#[tokio::test(start_paused = true)]
async fn granted_trial_ends_the_wait_for_one_trial() {
    let rig = Rig::open(doubling().trials(Trials::new(3)));
    assert!(rig.grant_trial());
    assert_eq!(rig.state(), State::HalfOpen);
    let trial = rig.trial();
    assert!(rig.admit().is_err(), "one, whatever the policy allows");
    trial.failure("down");
    assert_eq!(rig.wait(), secs(20));

    advance(secs(1)).await;
    assert!(rig.grant_trial());
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_trial_is_granted_twice_in_a_second() {
    let rig = Rig::open(Policy::new());
    assert!(rig.grant_trial());
    rig.fail();
    advance(just_under(secs(1))).await;
    assert!(!rig.grant_trial());
    assert_eq!(rig.state(), State::Open);
    advance(MOMENT).await;
    assert!(rig.grant_trial());
}

#[tokio::test(start_paused = true)]
async fn no_trial_is_granted_where_nothing_is_waited_for() {
    let rig = Rig::new(Policy::new());
    assert!(!rig.grant_trial());
    rig.trip();
    rig.await_half_open().await;
    assert!(!rig.grant_trial());
    let _trial = rig.trial();
    assert!(!rig.grant_trial());
}

#[tokio::test(start_paused = true)]
async fn no_trial_is_granted_before_a_time_that_the_provider_named() {
    let throttled = Rig::new(without_jitter(Policy::new()));
    throttled.throttle(secs(30));
    let named_by_a_failure = Rig::new(without_jitter(Policy::new()).trip(Trip::consecutive(1)));
    named_by_a_failure.call().record(failure_with(secs(30)));
    let named_late = Rig::new(without_jitter(Policy::new()));
    let late = [named_late.call(), named_late.call()];
    named_late.trip();
    for (call, wait) in late.into_iter().zip([30, 5]) {
        call.throttled(Some(secs(wait)), "slow down");
    }

    advance(just_under(secs(30))).await;
    for rig in [&throttled, &named_by_a_failure, &named_late] {
        assert!(!rig.grant_trial());
        assert_eq!(rig.state(), State::Open);
    }
    advance(MOMENT).await;
    assert_eq!(throttled.state(), State::HalfOpen);
    assert!(
        named_by_a_failure.grant_trial(),
        "half of the backoff is left"
    );
    assert!(named_late.grant_trial());
}

#[tokio::test(start_paused = true)]
async fn no_trial_is_granted_under_a_force() {
    for to in [Override::Open, Override::Closed] {
        let rig = Rig::open(Policy::new());
        rig.force(to, secs(10), "hands off");
        assert!(!rig.grant_trial());
        rig.unforce();
        assert_eq!(rig.state(), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn mark_after_a_grant_takes_the_grant_back() {
    let long_wait = Backoff::constant(secs(60)).max_hold(secs(10));
    let rig = Rig::open(Policy::new().backoff(long_wait));
    advance(secs(20)).await;
    assert!(rig.grant_trial());
    rig.mark_unhealthy("still down");
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(40), "what was left of the window");
}
