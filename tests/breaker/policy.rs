//! The rules as values: their defaults, the values they refuse, and what a live change leaves as it is.

use std::{
    any::Any,
    panic::{UnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::time::advance;
use tower_health::{
    Backoff, Cause, HealthCache, Jitter, Outcome, Override, Policy, State, Throttle, Trials, Trip,
};

use crate::rig::{MOMENT, Rig, assert_same, just_under, secs};

/// Returns the message of the panic.
fn refusal<T>(setting: impl FnOnce() -> T + UnwindSafe) -> String {
    let refused = catch_unwind(|| drop(setting()));
    let panic: Box<dyn Any + Send> = refused.expect_err("it is accepted");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

// Defaults.

#[test]
fn defaults_are_those_that_are_documented() {
    let written_out = Policy::new()
        .trip(Trip::consecutive(2).within(secs(5 * 60)))
        .backoff(
            Backoff::constant(secs(60))
                .jitter(Jitter::None)
                .max_hold(secs(10 * 60)),
        )
        .trials(Trials::new(1).to_close(1).lease(secs(60)).pause(secs(1)))
        .throttle(
            Throttle::default()
                .default_wait(secs(15))
                .max_wait(secs(3_600))
                .jitter(0.1),
        );
    assert_eq!(Policy::new(), written_out);
    assert_eq!(Policy::default(), written_out);
    assert_eq!(HealthCache::default().provider("a").policy(), written_out);

    let rate = Trip::failure_rate(0.5, secs(30));
    assert_eq!(rate.clone(), rate.min_calls(20).within(secs(5 * 60)));
    let growing = Backoff::exponential(secs(1), secs(9));
    assert_eq!(
        growing.clone(),
        growing
            .factor(2.0)
            .max_hold(secs(10 * 60))
            .jitter(Jitter::None)
    );
}

#[test]
fn each_setting_is_a_difference() {
    let defaults = Policy::new();
    let backoff = || Backoff::exponential(secs(1), secs(9));
    for changed in [
        Policy::new().trip(Trip::consecutive(3)),
        Policy::new().trip(Trip::default().within(secs(1))),
        Policy::new().trip(Trip::default().slow_call(secs(1))),
        Policy::new().trip(Trip::default().cancelled_after(secs(1))),
        Policy::new().trip(Trip::default().or_failure_rate(0.5, secs(1))),
        Policy::new().backoff(backoff()),
        Policy::new().backoff(Backoff::default().max_hold(secs(1))),
        Policy::new().backoff(Backoff::default().jitter(Jitter::Full)),
        Policy::new().trials(Trials::new(2)),
        Policy::new().trials(Trials::default().to_close(2)),
        Policy::new().trials(Trials::default().lease(secs(1))),
        Policy::new().trials(Trials::default().pause(secs(2))),
        Policy::new().trials(Trials::default().by_probe_only(true)),
        Policy::new().throttle(Throttle::default().default_wait(secs(1))),
        Policy::new().throttle(Throttle::default().max_wait(secs(1))),
        Policy::new().throttle(Throttle::default().jitter(0.2)),
        Policy::new().observe_only(true),
    ] {
        assert_ne!(changed, defaults);
    }
    assert_ne!(backoff(), backoff().factor(3.0));
}

// Refused values.

/// Scenario 16.
#[test]
fn counts_of_zero_are_refused() {
    let rate = || Trip::failure_rate(0.5, secs(1));
    let must = |setting: &str| format!("`{setting}` must be at least 1, got 0");
    assert_eq!(refusal(|| Trip::consecutive(0)), must("Trip::consecutive"));
    assert_eq!(refusal(|| rate().min_calls(0)), must("Trip::min_calls"));
    assert_eq!(refusal(|| Trials::new(0)), must("Trials::new"));
    assert_eq!(
        refusal(|| Trials::default().to_close(0)),
        must("Trials::to_close")
    );
}

/// Scenario 16.
#[test]
fn durations_of_zero_are_refused() {
    const ZERO: Duration = Duration::ZERO;
    let must = |setting: &str| format!("`{setting}` must be longer than zero, got 0ns");
    for (refused, setting) in [
        (refusal(|| Trip::default().within(ZERO)), "Trip::within"),
        (
            refusal(|| Trip::default().slow_call(ZERO)),
            "Trip::slow_call",
        ),
        (refusal(|| Backoff::constant(ZERO)), "Backoff::constant"),
        (
            refusal(|| Backoff::exponential(ZERO, secs(1))),
            "Backoff::exponential: first",
        ),
        (
            refusal(|| Backoff::default().max_hold(ZERO)),
            "Backoff::max_hold",
        ),
        (refusal(|| Trials::default().lease(ZERO)), "Trials::lease"),
        (
            refusal(|| Throttle::default().default_wait(ZERO)),
            "Throttle::default_wait",
        ),
        (
            refusal(|| Throttle::default().max_wait(ZERO)),
            "Throttle::max_wait",
        ),
    ] {
        assert_eq!(refused, must(setting));
    }
}

/// Scenario 16.
#[test]
fn ratios_that_nobody_can_mean_are_refused() {
    for ratio in [0.0, -0.0, -0.5, 1.000_001, f64::INFINITY, f64::NAN] {
        let must =
            format!("`Trip::failure_rate`: the ratio must be above 0 and at most 1, got {ratio}");
        assert_eq!(refusal(|| Trip::failure_rate(ratio, secs(1))), must);
        let either = || Trip::consecutive(2).or_failure_rate(ratio, secs(1));
        assert_eq!(refusal(either), must);
    }
    for window in [Duration::ZERO, just_under(Duration::from_millis(1))] {
        assert_eq!(
            refusal(|| Trip::failure_rate(0.5, window)),
            format!("`Trip::failure_rate`: the window must be at least 1ms, got {window:?}")
        );
    }
    assert_eq!(
        refusal(|| Trip::consecutive(2).min_calls(5)),
        "`Trip::min_calls` requires a failure rate: set `or_failure_rate` first"
    );
}

/// Scenario 16.
#[test]
fn shares_of_jitter_that_nobody_can_mean_are_refused() {
    for share in [-0.1, 1.000_001, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(
            refusal(|| Throttle::default().jitter(share)),
            format!("`Throttle::jitter` must be at least 0 and at most 1, got {share}")
        );
    }
}

/// Scenario 16.
#[test]
fn backoff_that_shrinks_is_refused() {
    assert_eq!(
        refusal(|| Backoff::exponential(secs(2), secs(1))),
        "`Backoff::exponential`: max must be at least first (2s), got 1s"
    );
    for factor in [0.999, 0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(
            refusal(|| Backoff::default().factor(factor)),
            format!("`Backoff::factor` must be at least 1 and finite, got {factor}")
        );
    }
}

#[test]
fn limits_themselves_are_accepted() {
    let trip = Trip::consecutive(1)
        .or_failure_rate(1.0, Duration::from_millis(1))
        .min_calls(1)
        .within(MOMENT)
        .slow_call(MOMENT)
        .cancelled_after(Duration::ZERO);
    let backoff = Backoff::exponential(MOMENT, MOMENT)
        .factor(1.0)
        .max_hold(MOMENT);
    let policy = Policy::new()
        .trip(trip)
        .backoff(backoff)
        .trials(Trials::new(1).lease(MOMENT).pause(Duration::ZERO))
        .throttle(Throttle::default().jitter(1.0));
    assert_eq!(Rig::new(policy.clone()).policy(), policy);
    let _ = Throttle::default().jitter(0.0);
    let _ = Trip::failure_rate(f64::MIN_POSITIVE, Duration::MAX).min_calls(u32::MAX);
}

// Live changes.

#[tokio::test(start_paused = true)]
async fn new_policy_is_that_of_every_handle() {
    let rig = Rig::new(Policy::new());
    let patient = Policy::new().trip(Trip::consecutive(9));
    rig.set_policy(patient.clone());
    assert_eq!(rig.cache.provider(Rig::ID).policy(), patient);
    assert_eq!(rig.cache.provider("b").policy(), Policy::new());
}

#[tokio::test(start_paused = true)]
async fn new_policy_leaves_the_state_as_it_is() {
    let other = Policy::new()
        .trip(Trip::consecutive(9).or_failure_rate(0.5, secs(9)))
        .backoff(Backoff::constant(secs(9)))
        .trials(Trials::new(1).to_close(9).lease(secs(9)).pause(secs(9)))
        .throttle(Throttle::default().max_wait(secs(9)));
    let closed = Rig::new(Policy::new());
    closed.fail();
    let open = Rig::open(Policy::new());
    let throttled = Rig::new(Policy::new());
    throttled.throttle(secs(30));
    let forced = Rig::new(Policy::new());
    forced.force(Override::Open, secs(30), "maintenance");
    let on_trial = Rig::half_open(Policy::new()).await;
    let _trial = on_trial.trial();

    for rig in [closed, open, throttled, forced, on_trial] {
        let before = rig.health();
        rig.set_policy(other.clone());
        assert_same(&before, &rig.health());
    }
}

#[tokio::test(start_paused = true)]
async fn new_limit_counts_the_streak_so_far() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(9)));
    for _ in 0..5 {
        rig.fail();
    }
    rig.set_policy(Policy::new());
    assert_eq!(rig.state(), State::Closed, "nothing has happened");
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn new_policy_keeps_the_window_where_its_rule_is_the_same() {
    let policy = || Policy::new().trip(Trip::failure_rate(0.5, secs(30)).min_calls(4));
    let rig = Rig::new(policy());
    for _ in 0..3 {
        rig.fail();
    }
    rig.set_policy(policy().backoff(Backoff::constant(secs(9))));
    rig.fail();
    assert_eq!(rig.wait(), secs(9));
}

#[tokio::test(start_paused = true)]
async fn new_failure_rate_holds_from_then_on() {
    let rate = |ratio| Trip::failure_rate(ratio, secs(30)).min_calls(3);
    let rig = Rig::new(Policy::new());
    rig.succeed();
    rig.set_policy(Policy::new().trip(rate(0.5)));
    rig.fail();
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
    rig.fail();
    assert_eq!(rig.state(), State::Open);

    let rig = Rig::new(Policy::new().trip(rate(0.5)));
    rig.set_policy(Policy::new().trip(rate(1.0)));
    rig.succeed();
    for _ in 0..9 {
        rig.fail();
    }
    assert_eq!(rig.state(), State::Closed);
    rig.set_policy(Policy::new());
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn new_backoff_and_trials_hold_from_the_next_round() {
    let rig = Rig::half_open(Policy::new()).await;
    rig.set_policy(
        Policy::new()
            .backoff(Backoff::exponential(secs(1), secs(60)))
            .trials(Trials::new(2).to_close(2)),
    );
    let _other = rig.trial();
    rig.trial().failure("down");
    assert_eq!(rig.wait(), secs(2), "the level is kept");
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.state(), State::HalfOpen);
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn timed_rules_hold_for_calls_begun_after_the_change() {
    let rig = Rig::new(Policy::new());
    let (slow, dropped) = (rig.call(), rig.call());
    let timed = Trip::consecutive(1)
        .slow_call(secs(1))
        .cancelled_after(secs(1));
    rig.set_policy(Policy::new().trip(timed));
    advance(secs(5)).await;
    slow.success();
    drop(dropped);
    assert_eq!(rig.state(), State::Closed, "nobody knows when they began");

    let call = rig.call();
    advance(secs(5)).await;
    rig.set_policy(Policy::new());
    drop(call);
    assert_eq!(rig.state(), State::Closed, "the rule is gone");
}

// Shadow mode.

#[tokio::test(start_paused = true)]
async fn observe_only_computes_all_and_refuses_nothing() {
    let rig = Rig::new(Policy::new().observe_only(true));
    let mut transitions = rig.cache.subscribe();
    rig.trip();
    let health = rig.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.consecutive_failures, 2);
    assert!(health.healthy);

    advance(secs(59)).await;
    for _ in 0..3 {
        rig.succeed();
        rig.fail();
    }
    assert_eq!(rig.state(), State::Open, "what it would have refused");
    assert_eq!(rig.health().consecutive_failures, 2);

    advance(secs(1)).await;
    assert_eq!(rig.state(), State::HalfOpen);
    let trial = rig.trial();
    let beside = rig.call();
    assert!(!beside.is_trial());
    beside.failure("down");
    trial.success();
    assert_eq!(rig.state(), State::Closed);

    for state in [State::Open, State::HalfOpen, State::Closed] {
        assert_eq!(transitions.recv().await.unwrap().to, state);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_would_have_been_refused_are_counted_by_outcome() {
    let rig = Rig::new(Policy::new().observe_only(true));
    rig.succeed();
    rig.trip();
    assert_eq!(rig.provider.health().shadow, None);

    rig.succeed();
    rig.fail();
    rig.fail();
    rig.call().throttled(None, "busy");
    rig.call().answered();
    rig.call().neutral();
    drop(rig.call());
    let counted = |rig: &Rig| {
        let calls = rig.provider.health().shadow.unwrap();
        [
            calls.success,
            calls.failure,
            calls.throttled,
            calls.answered,
            calls.neutral,
        ]
    };
    assert_eq!(counted(&rig), [1, 2, 1, 1, 2]);

    // A trial is a call that the breaker would have admitted.
    advance(secs(60)).await;
    rig.trial().success();
    rig.succeed();
    assert_eq!(counted(&rig), [1, 2, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn observe_only_is_left_and_entered_at_any_time() {
    let rig = Rig::open(Policy::new().observe_only(true));
    rig.set_policy(Policy::new());
    assert_eq!(rig.wait(), secs(60));
    rig.set_policy(Policy::new().observe_only(true));
    assert!(rig.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn observe_only_gives_way_to_an_operator_who_forces_it_open() {
    let rig = Rig::open(Policy::new().observe_only(true));
    rig.force(Override::Open, secs(10), "maintenance");
    assert_eq!(rig.wait(), secs(10), "not as long as the window beneath");
    advance(secs(10)).await;
    assert!(rig.is_healthy());
}

// Getters.

#[test]
fn getters_give_what_setters_took() {
    let trip = Trip::consecutive(3)
        .exact()
        .within(secs(4))
        .or_failure_rate(0.5, secs(6))
        .min_calls(7)
        .slow_call(secs(8))
        .cancelled_after(secs(9));
    let backoff = Backoff::exponential(secs(10), secs(11))
        .factor(1.5)
        .jitter(Jitter::Full)
        .max_hold(secs(12));
    let trials = Trials::new(13)
        .to_close(14)
        .lease(secs(15))
        .pause(secs(16))
        .by_probe_only(true);
    let throttle = Throttle::default()
        .default_wait(secs(17))
        .max_wait(secs(18))
        .jitter(0.75);
    let policy = Policy::new()
        .trip(trip.clone())
        .backoff(backoff.clone())
        .trials(trials.clone())
        .throttle(throttle.clone())
        .observe_only(true)
        .measure_latency(true);

    assert_eq!(policy.get_trip(), &trip);
    assert_eq!(policy.get_backoff(), &backoff);
    assert_eq!(policy.get_trials(), &trials);
    assert_eq!(policy.get_throttle(), &throttle);
    assert!(policy.get_observe_only());
    assert!(!policy.get_release_on_open());
    assert!(policy.get_measure_latency());

    assert_eq!(trip.get_consecutive(), Some(3));
    assert!(trip.get_exact());
    assert_eq!(trip.get_within(), secs(4));
    assert_eq!(trip.get_failure_rate(), Some((0.5, secs(6))));
    assert_eq!(trip.get_min_calls(), Some(7));
    assert_eq!(trip.get_slow_call(), Some(secs(8)));
    assert_eq!(trip.get_cancelled_after(), Some(secs(9)));

    assert_eq!(
        [backoff.get_first(), backoff.get_max()],
        [secs(10), secs(11)]
    );
    assert!((backoff.get_factor() - 1.5).abs() < f64::EPSILON);
    assert_eq!(backoff.get_jitter(), Jitter::Full);
    assert_eq!(backoff.get_max_hold(), secs(12));

    assert_eq!([trials.get_at_once(), trials.get_to_close()], [13, 14]);
    assert_eq!(
        [trials.get_lease(), trials.get_pause()],
        [secs(15), secs(16)]
    );
    assert!(trials.get_by_probe_only());

    assert_eq!(throttle.get_default_wait(), secs(17));
    assert_eq!(throttle.get_max_wait(), secs(18));
    assert!((throttle.get_jitter() - 0.75).abs() < f64::EPSILON);

    let rate = Trip::failure_rate(0.5, secs(6));
    assert_eq!(rate.get_consecutive(), None);
    let default = Trip::default();
    assert_eq!(default.get_failure_rate(), None);
    assert_eq!(default.get_min_calls(), None);
}

#[test]
fn switches_can_be_switched_off_again() {
    let policy = Policy::new().observe_only(true).observe_only(false);
    assert_eq!(policy, Policy::new());
    let policy = Policy::new().measure_latency(true).measure_latency(false);
    assert_eq!(policy, Policy::new());
    let trials = Trials::default().by_probe_only(true).by_probe_only(false);
    assert_eq!(trials, Trials::default());
}

#[test]
fn simulation_agrees_with_a_provider() {
    let policy = Policy::new().trip(Trip::failure_rate(0.5, secs(30)).min_calls(4));
    let call = |second: u64| {
        let outcome = if second % 3 == 0 {
            Outcome::Success
        } else {
            Outcome::failure("503")
        };
        (secs(second), outcome)
    };
    let simulated = policy.simulate((0..600).map(call));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (states, refused) = runtime.block_on(async {
        let cache = HealthCache::new(policy);
        let mut transitions = cache.subscribe();
        let provider = cache.provider("a");
        let start = tokio::time::Instant::now();
        let mut refused = Vec::new();
        for (at, outcome) in (0..600).map(call) {
            match provider.admit() {
                Ok(permit) => permit.record(outcome),
                Err(_) => refused.push(at),
            }
            tokio::time::advance(secs(1)).await;
        }
        let mut states = Vec::new();
        drop((cache, provider));
        while let Some(transition) = transitions.recv().await {
            states.push((transition.at - start, transition.to));
        }
        (states, refused)
    });
    assert!(states.len() > 10);
    assert_eq!(simulated.states, states[..simulated.states.len()]);
    assert!(
        states.len() <= simulated.states.len() + 1,
        "a window that ends after the last call"
    );
    assert_eq!(simulated.refused, refused);
}

#[test]
#[should_panic(expected = "needs calls in order of time, got 1s after 2s")]
fn simulated_calls_are_in_order() {
    let _ = Policy::new().simulate([2, 1].map(|second| (secs(second), Outcome::Success)));
}
