//! The evidence of a check, against that of live calls and of the provider's own named times.

use std::{future::ready, time::Duration};

use tokio::time::{Instant, advance, sleep, timeout};
use tower_health::{
    Backoff, Cause, Check, HealthCache, HealthProbe, Outcome, Override, Policy, Provider,
    ProviderHealth, State, Throttle, Trials, Trip,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

// Failed checks while closed.

#[tokio::test(start_paused = true)]
async fn failed_checks_trip_at_the_count_of_the_policy() {
    for count in [1, 2, 5] {
        let it = Patient::of(Policy::new().trip(Trip::consecutive(count)));
        for _ in 1..count {
            it.check(REACHES, FAILS).await;
        }
        assert_eq!(it.state(), State::Closed);
        it.check(REACHES, FAILS).await;
        let health = it.health();
        assert_eq!(health.state, State::Open);
        assert_eq!(health.cause, Some(Cause::Probe));
        assert_eq!(health.retry_in, Some(MINUTE));
    }
}

#[tokio::test(start_paused = true)]
async fn failed_functional_checks_trip_just_the_same() {
    let it = Patient::default();
    it.check(WORKS, FAILS).await;
    assert_eq!(it.state(), State::Closed);
    it.check(WORKS, FAILS).await;
    assert_eq!(it.health().cause, Some(Cause::Probe));
}

#[tokio::test(start_paused = true)]
async fn failed_checks_trip_at_two_where_the_policy_names_a_rate_alone() {
    let it = Patient::of(Policy::new().trip(Trip::failure_rate(0.5, MINUTE)));
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Closed);
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn passed_check_ends_the_streak_of_failed_ones() {
    let it = Patient::default();
    for _ in 0..10 {
        it.check(REACHES, FAILS).await;
        it.check(REACHES, PASSES).await;
    }
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn checks_and_live_calls_have_a_streak_each() {
    let it = Patient::default();
    it.live_failure();
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Closed, "one of each are not two");
    assert_eq!(it.health().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn no_check_touches_the_streak_of_live_calls() {
    for (depth, verdict) in [(REACHES, PASSES), (WORKS, PASSES), (REACHES, FAILS)] {
        let it = Patient::default();
        it.live_failure();
        it.check(depth, verdict).await;
        assert_eq!(it.health().consecutive_failures, 1);
        it.live_failure();
        assert_eq!(it.health().cause, Some(Cause::Failures));
    }
}

#[tokio::test(start_paused = true)]
async fn checks_do_not_count_towards_a_failure_rate() {
    let it = Patient::of(Policy::new().trip(Trip::failure_rate(0.5, MINUTE).min_calls(4)));
    it.live_failure();
    it.live_failure();
    it.live_failure();
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Closed, "three calls are not four");
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn live_success_since_the_last_check_outranks_a_failed_one() {
    let it = Patient::trips_at_once();
    for _ in 0..10 {
        it.live_success();
        it.check(REACHES, FAILS).await;
        assert_eq!(it.state(), State::Closed);
    }
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open, "nothing speaks for it any more");
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn live_success_during_a_check_outranks_its_failure() {
    let it = Patient::trips_at_once();
    let check = it.slow_check(REACHES, FAILS).await;
    it.live_success();
    check.await.unwrap();
    assert_eq!(it.state(), State::Closed);
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn success_from_before_the_last_check_outranks_nothing() {
    let it = Patient::trips_at_once();
    it.live_success();
    it.check(REACHES, PASSES).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
}

/// Scenario 28. A trial is a live call.
#[tokio::test(start_paused = true)]
async fn success_of_a_trial_since_the_last_check_outranks_a_failed_one() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    it.live_success();
    assert_eq!(it.state(), State::Closed);
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Closed);
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn neutral_call_outranks_nothing() {
    let it = Patient::trips_at_once();
    it.provider().admit().unwrap().neutral();
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn broken_probe_never_takes_a_busy_provider_out() {
    let it = Patient::default();
    let mut transitions = it.cache.subscribe();
    let probe = HealthProbe::new(&it.cache).check(ID, || ready(FAILS));
    let probe = probe.spawn();
    for _ in 0..60 {
        sleep(10 * SECOND).await;
        it.live_success();
    }
    probe.stop().await;
    let quiet = timeout(Duration::ZERO, transitions.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

// Passed checks while open or half-open.

#[tokio::test(start_paused = true)]
async fn shallow_success_closes_what_a_check_opened() {
    let it = Patient::opened_by_checks().await;
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn shallow_success_closes_what_a_check_opened_once_it_is_half_open() {
    let it = Patient::opened_by_checks().await;
    advance(MINUTE).await;
    assert_eq!(it.state(), State::HalfOpen);
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn checks_of_either_depth_pass_as_often_as_it_takes_to_close() {
    for depth in [REACHES, WORKS] {
        let trials = Trials::new(1).to_close(3);
        let it = Patient::of(Policy::new().trials(trials));
        it.check(depth, FAILS).await;
        it.check(depth, FAILS).await;
        assert_eq!(it.health().cause, Some(Cause::Probe));
        for _ in 1..3 {
            it.check(depth, PASSES).await;
            assert_eq!(it.state(), State::HalfOpen);
        }
        it.check(depth, PASSES).await;
        assert_eq!(it.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn shallow_success_allows_one_early_trial_of_what_live_calls_opened() {
    let it = Patient::of(policy_of_one().trials(Trials::new(3)));
    it.live_failure();
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::HalfOpen);

    let trial = it.provider().admit().unwrap();
    assert!(trial.is_trial());
    assert!(it.provider().admit().is_err(), "one, however many trials");
    it.check(REACHES, PASSES).await;
    assert!(it.provider().admit().is_err(), "and no more of them");
    trial.success();
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn shallow_success_does_not_close_what_live_calls_opened() {
    let it = Patient::trips_at_once();
    it.live_failure();
    for _ in 0..10 {
        it.check(REACHES, PASSES).await;
        assert_eq!(it.state(), State::HalfOpen);
    }
    advance(10 * MINUTE).await;
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::HalfOpen, "nor after its time");
}

/// Scenario 27.
#[tokio::test(start_paused = true)]
async fn shallow_success_is_disproved_by_a_failed_trial() {
    let it = Patient::trips_at_once();
    it.live_failure();
    it.check(REACHES, PASSES).await;
    it.live_failure();
    for _ in 0..3 {
        assert_eq!(it.health().retry_in, Some(MINUTE));
        it.check(REACHES, PASSES).await;
        assert_eq!(it.health().retry_in, Some(MINUTE));
        advance(MINUTE).await;
        it.live_failure();
    }
}

/// Scenario 27.
#[tokio::test(start_paused = true)]
async fn shallow_success_stays_disproved_when_a_check_fails_in_between() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    it.live_failure();
    advance(MINUTE).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::Open);
}

/// Scenario 27.
#[tokio::test(start_paused = true)]
async fn shallow_success_no_longer_closes_what_a_check_opened_once_a_trial_has_failed() {
    let it = Patient::opened_by_checks().await;
    advance(MINUTE).await;
    it.live_failure();
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::Open);
    assert_eq!(it.health().cause, Some(Cause::Failures));
}

/// Scenario 27.
#[tokio::test(start_paused = true)]
async fn shallow_success_counts_again_in_the_next_outage() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    it.live_failure();
    advance(MINUTE).await;
    it.live_success();

    it.live_failure();
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::HalfOpen);
}

/// Scenario 27. Two calls trip, a third is the early trial, and then each 60 s window admits one.
#[tokio::test(start_paused = true)]
async fn shallow_probe_wastes_five_calls_in_three_minutes() {
    assert_eq!(calls_wasted_while(Check::new(|| ready(true))).await, 5);
}

/// Scenario 27. A check of the real path wastes no call.
#[tokio::test(start_paused = true)]
async fn functional_probe_wastes_no_call_after_the_trip() {
    let check = Check::new(|| ready(false)).functional();
    assert_eq!(calls_wasted_while(check).await, 2);
}

/// A mark of the application outranks later checks.
#[tokio::test(start_paused = true)]
async fn shallow_success_does_not_close_once_the_application_has_spoken() {
    let it = Patient::opened_by_checks().await;
    it.provider().mark_unhealthy("refused");
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn functional_success_closes_before_the_deadline() {
    for it in [Patient::trips_at_once(), Patient::opened_by_checks().await] {
        it.provider().mark_unhealthy("refused");
        assert_eq!(it.state(), State::Open);
        it.check(WORKS, PASSES).await;
        assert_eq!(it.state(), State::Closed);
        assert_eq!(it.health().consecutive_failures, 0);
    }
}

/// Scenario 27.
#[tokio::test(start_paused = true)]
async fn functional_success_closes_although_a_trial_has_failed() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    it.live_failure();
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn functional_success_counts_towards_closing() {
    let it = Patient::of(policy_of_one().trials(Trials::new(1).to_close(3)));
    it.live_failure();
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::HalfOpen);
    it.live_success();
    assert_eq!(it.state(), State::HalfOpen);
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn functional_success_closes_what_is_half_open_with_a_trial_in_flight() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    let trial = it.provider().admit().unwrap();
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::Closed);
    trial.failure("late");
    assert_eq!(it.state(), State::Closed);
}

// Failed checks while open or half-open.

#[tokio::test(start_paused = true)]
async fn failed_check_puts_off_the_end_of_an_open_window() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(20 * SECOND).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.health().retry_in, Some(MINUTE));
    assert_eq!(it.health().cause, Some(Cause::Failures));
}

#[tokio::test(start_paused = true)]
async fn failed_check_opens_the_half_open_again_at_the_same_backoff() {
    let growing = Backoff::exponential(10 * SECOND, MINUTE);
    let it = Patient::of(policy_of_one().backoff(growing));
    it.live_failure();
    advance(10 * SECOND).await;
    it.live_failure();
    advance(20 * SECOND).await;
    assert_eq!(it.state(), State::HalfOpen);

    for _ in 0..3 {
        it.check(REACHES, FAILS).await;
        assert_eq!(it.state(), State::Open);
        assert_eq!(it.health().retry_in, Some(20 * SECOND));
        advance(20 * SECOND).await;
    }
}

/// Rule 2: a trial of an earlier half-open time decides nothing, and neither does a pause.
#[tokio::test(start_paused = true)]
async fn failed_check_leaves_nothing_to_a_trial_that_cannot_decide() {
    let trials = Trials::new(2).lease(10 * MINUTE);
    let it = Patient::of(policy_of_one().trials(trials));
    it.live_failure();
    advance(MINUTE).await;
    let _hanging = it.provider().admit().unwrap();
    it.live_failure();
    advance(MINUTE).await;
    assert_eq!(it.state(), State::HalfOpen);

    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);

    advance(MINUTE).await;
    drop(it.provider().admit().unwrap());
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
}

/// Rule 2.
#[tokio::test(start_paused = true)]
async fn failed_check_leaves_the_half_open_to_a_trial_that_is_out() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    let trial = it.provider().admit().unwrap();
    it.check(WORKS, FAILS).await;
    assert_eq!(it.state(), State::HalfOpen);
    trial.success();
    assert_eq!(it.state(), State::Closed);
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn failed_check_does_not_wait_for_a_trial_whose_lease_has_ended() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    let _hung = it.provider().admit().unwrap();
    advance(MINUTE).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failed_check_does_not_shorten_a_window() {
    let it = Patient::trips_at_once();
    let failure = Outcome::Failure {
        reason: "503".into(),
        retry_after: Some(5 * MINUTE),
    };
    it.provider().admit().unwrap().record(failure);
    it.check(REACHES, FAILS).await;
    assert_eq!(it.health().retry_in, Some(5 * MINUTE));
}

/// Scenario 29.
#[tokio::test(start_paused = true)]
async fn broken_probe_holds_no_longer_than_max_hold() {
    let it = Patient::trips_at_once();
    let start = Instant::now();
    it.live_failure();
    let probe = steady(&it.cache).check(ID, || ready(FAILS)).spawn();
    let mut transitions = it.cache.subscribe();
    while transitions.recv().await.unwrap().to != State::HalfOpen {}
    assert_eq!(start.elapsed(), 10 * MINUTE);

    sleep(10 * MINUTE).await;
    let quiet = timeout(Duration::ZERO, transitions.recv()).await;
    assert!(quiet.is_err(), "and does not open it again: {quiet:?}");
    it.live_success();
    assert_eq!(it.state(), State::Closed);
    probe.stop().await;
}

/// Scenario 29.
#[tokio::test(start_paused = true)]
async fn max_hold_is_measured_from_the_beginning_of_the_window() {
    let hold = Backoff::default().max_hold(90 * SECOND);
    let it = Patient::of(policy_of_one().backoff(hold));
    it.live_failure();
    advance(MINUTE).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(
        it.health().retry_in,
        Some(30 * SECOND),
        "reopened, but not for 60 s"
    );
    advance(30 * SECOND).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.state(), State::HalfOpen);

    it.live_failure();
    advance(MINUTE).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(
        it.health().retry_in,
        Some(30 * SECOND),
        "anew after a failed trial"
    );
}

// Windows that a check must not shorten.

#[tokio::test(start_paused = true)]
async fn no_check_shortens_a_throttled_window() {
    for depth in [REACHES, WORKS] {
        for named in [Some(40 * SECOND), None] {
            let it = Patient::of(without_jitter());
            it.provider().admit().unwrap().throttled(named, "429");
            let wait = named.unwrap_or(15 * SECOND);
            it.check(depth, PASSES).await;
            assert_eq!(it.health().retry_in, Some(wait));
            assert_eq!(it.health().cause, Some(Cause::Throttled));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn functional_success_closes_a_throttled_provider_after_its_time() {
    let it = Patient::default();
    it.provider()
        .admit()
        .unwrap()
        .throttled(Some(SECOND), "429");
    advance(SECOND).await;
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_check_shortens_the_time_that_a_failing_provider_named() {
    for depth in [REACHES, WORKS] {
        let it = Patient::trips_at_once();
        let failure = Outcome::Failure {
            reason: "503".into(),
            retry_after: Some(2 * MINUTE),
        };
        it.provider().admit().unwrap().record(failure);
        advance(MINUTE).await;
        it.check(depth, PASSES).await;
        assert_eq!(it.health().retry_in, Some(MINUTE));
    }
}

/// Exception to rule 1: a check must not shorten the wait of a late throttle either.
#[tokio::test(start_paused = true)]
async fn no_check_shortens_a_window_that_a_late_call_was_told_to_wait_for() {
    for depth in [REACHES, WORKS] {
        let it = Patient::trips_at_once();
        let late = it.provider().admit().unwrap();
        it.live_failure();
        late.throttled(Some(30 * SECOND), "429");
        it.check(depth, PASSES).await;
        assert_eq!(it.health().retry_in, Some(MINUTE));
    }
}

#[tokio::test(start_paused = true)]
async fn no_check_shortens_a_forced_window() {
    for depth in [REACHES, WORKS] {
        let it = Patient::opened_by_checks().await;
        it.provider()
            .force(Override::Open, 5 * MINUTE, "maintenance");
        it.check(depth, PASSES).await;
        assert_eq!(it.health().retry_in, Some(5 * MINUTE));
        assert_eq!(it.health().cause, Some(Cause::Forced));
        it.provider().unforce();
        assert_eq!(it.state(), State::Closed, "it was counted underneath");
    }
}

#[tokio::test(start_paused = true)]
async fn no_check_opens_what_is_forced_closed() {
    let it = Patient::trips_at_once();
    it.provider()
        .force(Override::Closed, MINUTE, "we know better");
    it.check(REACHES, FAILS).await;
    assert!(it.provider().is_healthy());
}

// Late checks.

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn check_from_before_the_trip_neither_closes_nor_shortens() {
    for depth in [REACHES, WORKS] {
        let it = Patient::trips_at_once();
        let check = it.slow_check(depth, PASSES).await;
        it.live_failure();
        check.await.unwrap();
        assert_eq!(it.health().retry_in, Some(59 * SECOND));
    }
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn check_from_before_the_trip_puts_nothing_off() {
    let it = Patient::trips_at_once();
    let check = it.slow_check(REACHES, FAILS).await;
    it.live_failure();
    check.await.unwrap();
    assert_eq!(it.health().retry_in, Some(59 * SECOND));
    assert_eq!(it.health().last_error.unwrap(), "refused");
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn check_from_before_the_recovery_trips_nothing() {
    let it = Patient::opened_by_checks().await;
    let check = it.slow_check(REACHES, FAILS).await;
    it.check(REACHES, PASSES).await;
    check.await.unwrap();
    assert_eq!(it.state(), State::Closed);
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn check_from_before_a_failed_trial_does_not_close() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(MINUTE).await;
    let check = it.slow_check(WORKS, PASSES).await;
    it.live_failure();
    check.await.unwrap();
    assert_eq!(it.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn check_that_spans_the_end_of_the_window_counts() {
    let it = Patient::trips_at_once();
    it.live_failure();
    advance(Duration::from_millis(59_500)).await;
    let check = it.slow_check(WORKS, PASSES).await;
    check.await.unwrap();
    assert_eq!(it.state(), State::Closed);

    it.live_failure();
    advance(Duration::from_millis(59_500)).await;
    let check = it.slow_check(WORKS, FAILS).await;
    check.await.unwrap();
    assert_eq!(it.health().retry_in, Some(MINUTE));
}

// Trials by probe only.

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn by_probe_only_admits_no_live_call_until_a_functional_check_has_closed() {
    let it = Patient::of(policy_of_one().trials(Trials::default().by_probe_only(true)));
    it.live_failure();
    advance(MINUTE).await;
    assert_eq!(it.state(), State::HalfOpen);
    assert!(it.provider().admit().is_err());
    it.check(REACHES, PASSES).await;
    assert!(it.provider().admit().is_err());
    it.check(WORKS, PASSES).await;
    assert_eq!(it.state(), State::Closed);
    assert!(it.provider().admit().is_ok());
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn by_probe_only_grants_no_early_trial() {
    let it = Patient::of(policy_of_one().trials(Trials::default().by_probe_only(true)));
    it.live_failure();
    it.check(REACHES, PASSES).await;
    assert_eq!(it.state(), State::Open);
    assert!(!it.provider().grant_trial());
}

/// Rule 13: only a functional probe closes.
#[tokio::test(start_paused = true)]
async fn by_probe_only_is_not_closed_by_a_shallow_check() {
    let it = Patient::of(policy_of_one().trials(Trials::default().by_probe_only(true)));
    it.check(REACHES, FAILS).await;
    assert_eq!(it.health().cause, Some(Cause::Probe));
    it.check(REACHES, PASSES).await;
    assert_ne!(it.state(), State::Closed);
}

/// Rule 13; scenario 29.
#[tokio::test(start_paused = true)]
async fn by_probe_only_admits_one_live_trial_after_max_hold() {
    let it = Patient::of(policy_of_one().trials(Trials::default().by_probe_only(true)));
    it.live_failure();
    let probe = steady(&it.cache).check(ID, || ready(FAILS)).spawn();
    sleep(599 * SECOND).await;
    assert!(it.provider().admit().is_err());
    assert_eq!(it.health().retry_in, Some(SECOND));
    sleep(2 * SECOND).await;
    let trial = it.provider().admit().unwrap();
    assert!(trial.is_trial());
    assert!(it.provider().admit().is_err());
    trial.failure("refused");
    assert_eq!(it.health().retry_in, Some(10 * MINUTE), "another hold");
    probe.stop().await;
}

// Time and reason of checks.

#[tokio::test(start_paused = true)]
async fn check_leaves_its_time_and_its_reason() {
    let it = Patient::default();
    sleep(5 * SECOND).await;
    it.check(REACHES, PASSES).await;
    assert_eq!(it.health().last_check, Some(Instant::now()));
    assert_eq!(it.health().last_error, None);
    sleep(5 * SECOND).await;
    it.check(REACHES, FAILS).await;
    assert_eq!(it.health().last_check, Some(Instant::now()));
    assert_eq!(it.health().last_error.unwrap(), "check failed");
}

#[tokio::test(start_paused = true)]
async fn trip_by_a_check_says_so() {
    let it = Patient::trips_at_once();
    let mut transitions = it.cache.subscribe();
    it.check(REACHES, FAILS).await;
    it.check(REACHES, PASSES).await;
    let mut next = async || transitions.recv().await.unwrap().to_string();
    assert_eq!(next().await, "a: closed -> open (probe: check failed)");
    assert_eq!(next().await, "a: open -> closed (was open: probe)");
}

// Helpers.

const ID: &str = "a";
const PASSES: bool = true;
const FAILS: bool = false;

/// A check for reachability.
const REACHES: Depth = |check| check;
/// A functional check.
const WORKS: Depth = Check::functional;

type Depth = fn(Check) -> Check;

/// A provider, with the calls and checks that report on it.
struct Patient {
    cache: HealthCache,
}

impl Default for Patient {
    fn default() -> Self {
        Self::of(Policy::default())
    }
}

impl Patient {
    fn of(policy: Policy) -> Self {
        let cache = HealthCache::new(policy);
        let _ = cache.provider(ID);
        Self { cache }
    }

    fn trips_at_once() -> Self {
        Self::of(policy_of_one())
    }

    async fn opened_by_checks() -> Self {
        let it = Self::trips_at_once();
        it.check(REACHES, FAILS).await;
        assert_eq!(it.health().cause, Some(Cause::Probe));
        it
    }

    fn provider(&self) -> Provider {
        self.cache.provider(ID)
    }

    fn health(&self) -> ProviderHealth {
        self.provider().health()
    }

    fn state(&self) -> State {
        self.health().state
    }

    fn live_success(&self) {
        self.provider().admit().unwrap().success();
    }

    fn live_failure(&self) {
        self.provider().admit().unwrap().failure("refused");
    }

    /// Runs a check that ends at once.
    async fn check(&self, depth: Depth, passes: bool) {
        let check = depth(Check::new(move || ready(passes)));
        HealthProbe::new(&self.cache)
            .check_with(ID, check)
            .round()
            .await;
    }

    /// Starts a check that ends after a second.
    async fn slow_check(&self, depth: Depth, passes: bool) -> tokio::task::JoinHandle<()> {
        let check = depth(Check::new(move || async move {
            sleep(SECOND).await;
            passes
        }));
        let probe = HealthProbe::new(&self.cache).check_with(ID, check);
        let round = tokio::spawn(async move { probe.round().await });
        tokio::task::yield_now().await;
        round
    }
}

/// The default policy, with throttles that last exactly as long as the provider asks.
fn without_jitter() -> Policy {
    Policy::new().throttle(Throttle::default().jitter(0.0))
}

fn policy_of_one() -> Policy {
    without_jitter().trip(Trip::consecutive(1))
}

/// A probe that runs its checks at 0 s, 30 s, 60 s and so on.
fn steady(cache: &HealthCache) -> HealthProbe {
    HealthProbe::new(cache).jitter(0.0)
}

/// Returns how many calls reach a failing provider, at one call a second for three minutes.
async fn calls_wasted_while(check: Check) -> u32 {
    let it = Patient::default();
    let probe = steady(&it.cache).check_with(ID, check).spawn();
    let mut wasted = 0;
    for _ in 0..180 {
        sleep(SECOND).await;
        if let Ok(permit) = it.provider().admit() {
            wasted += 1;
            permit.failure("POST failed");
        }
    }
    probe.stop().await;
    wasted
}
