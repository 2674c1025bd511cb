//! Waits that the provider asks for are lengthened at random, so that callers and replicas do not return at the same instant.

use std::{collections::HashSet, time::Duration};

use tokio::time::advance;
use tower_health::{
    Backoff, Cause, Check, HealthProbe, Outcome, Policy, State, Throttle, Trials, Trip,
};

use crate::rig::{MOMENT, Rig, just_under, secs, without_jitter};

/// Enough that neither half of a range stays empty by chance.
const MANY: usize = 64;

fn failure_that_names(wait: Duration) -> Outcome {
    Outcome::Failure {
        reason: "503".into(),
        retry_after: Some(wait),
    }
}

fn with_jitter(share: f64) -> Policy {
    Policy::new().throttle(Throttle::default().jitter(share))
}

/// Opens many breakers with `open`, and asserts that the waits are spread from `named` to `share` longer, and that the time
/// shown is the named one.
#[track_caller]
fn assert_spread(policy: &Policy, named: Duration, share: f64, open: impl Fn(&Rig)) {
    let waits: HashSet<_> = (0..MANY)
        .map(|_| {
            let rig = Rig::new(policy.clone());
            open(&rig);
            assert_eq!(rig.health().not_before, Some(named));
            rig.wait()
        })
        .collect();
    let latest = named + named.mul_f64(share);
    let all = || waits.iter().copied();
    assert!(all().all(|wait| (named..=latest).contains(&wait)));
    assert!(waits.len() > MANY / 2, "{} different waits", waits.len());
    let middle = named + named.mul_f64(share / 2.0);
    assert!(all().any(|wait| wait < middle) && all().any(|wait| wait > middle));
}

#[tokio::test(start_paused = true)]
async fn throttled_waits_up_to_a_tenth_longer_than_named() {
    let throttle = |rig: &Rig| rig.throttle(secs(70));
    assert_spread(&Policy::new(), secs(70), 0.1, throttle);
    assert_spread(&with_jitter(0.5), secs(70), 0.5, throttle);
    assert_spread(&with_jitter(1.0), secs(70), 1.0, throttle);
}

#[tokio::test(start_paused = true)]
async fn default_wait_is_lengthened_as_a_named_one() {
    let throttle = |rig: &Rig| rig.call().throttled(None, "slow down");
    assert_spread(&Policy::new(), secs(15), 0.1, throttle);
}

#[tokio::test(start_paused = true)]
async fn longest_wait_is_lengthened_too() {
    let policy = Policy::new().throttle(Throttle::default().max_wait(secs(100)));
    let throttle = |rig: &Rig| rig.throttle(secs(1_000_000));
    assert_spread(&policy, secs(100), 0.1, throttle);
}

#[tokio::test(start_paused = true)]
async fn failures_that_name_a_time_open_for_up_to_a_tenth_longer() {
    assert_spread(&Policy::new(), secs(600), 0.1, |rig| {
        rig.call().record(failure_that_names(secs(600)));
        rig.call().record(failure_that_names(secs(5)));
    });
}

#[tokio::test(start_paused = true)]
async fn failed_trial_that_names_a_time_opens_for_up_to_a_tenth_longer() {
    let rig = Rig::half_open(Policy::new()).await;
    rig.trial().record(failure_that_names(secs(600)));
    assert_eq!(rig.health().not_before, Some(secs(600)));
    assert!((secs(600)..=secs(660)).contains(&rig.wait()));
}

#[tokio::test(start_paused = true)]
async fn throttle_in_flight_when_the_breaker_opens_waits_up_to_a_tenth_longer() {
    assert_spread(&Policy::new(), secs(600), 0.1, |rig| {
        let late = rig.call();
        rig.trip();
        late.throttled(Some(secs(600)), "slow down");
    });
}

/// With a random number for each throttle, the longest of many would be near the maximum on every replica.
#[tokio::test(start_paused = true)]
async fn many_throttles_at_once_are_spread_as_one_is() {
    assert_spread(&Policy::new(), secs(600), 0.1, |rig| {
        let calls: Vec<_> = (0..500).map(|_| rig.call()).collect();
        let mut waits = HashSet::new();
        for call in calls {
            call.throttled(Some(secs(600)), "slow down");
            waits.insert(rig.wait());
        }
        assert_eq!(waits.len(), 1);
    });
}

#[tokio::test(start_paused = true)]
async fn backoff_that_is_longer_than_the_jittered_wait_stays_as_it_is() {
    let policy = Policy::new().trip(Trip::consecutive(1));
    for named in [1, 30, 54] {
        let rig = Rig::new(policy.clone());
        rig.call().record(failure_that_names(secs(named)));
        assert_eq!(rig.wait(), secs(60));
    }
    let rig = Rig::open(policy.backoff(Backoff::constant(secs(7))));
    assert_eq!(rig.wait(), secs(7), "no time was named");
}

#[tokio::test(start_paused = true)]
async fn zero_switches_it_off() {
    for named in [MOMENT, secs(7), secs(3_600)] {
        let rig = Rig::new(with_jitter(0.0));
        rig.throttle(named);
        assert_eq!(rig.wait(), named);
    }
}

#[tokio::test(start_paused = true)]
async fn call_is_refused_until_the_jittered_wait_is_over() {
    let rig = Rig::new(with_jitter(1.0));
    rig.throttle(secs(70));
    let wait = rig.wait();
    advance(just_under(secs(70))).await;
    assert_eq!(rig.health().not_before, Some(MOMENT));
    advance(MOMENT).await;
    assert_eq!(rig.health().not_before, None);
    assert_eq!(rig.wait(), wait.saturating_sub(secs(70)));
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

/// The provider named the earlier time; the rest of the wait only prevents crowds.
#[tokio::test(start_paused = true)]
async fn grants_and_checks_end_the_wait_at_the_named_time_but_not_before() {
    let throttled = || {
        let rig = Rig::new(with_jitter(1.0));
        rig.throttle(secs(70));
        // Only jitter long enough that the grant comes before its end.
        (rig.wait() > secs(71)).then_some(rig)
    };
    let mut long_jitters = std::iter::repeat_with(throttled).flatten();
    let (granted, checked) = (long_jitters.next().unwrap(), long_jitters.next().unwrap());
    let functional = Check::new(|| async { true }).functional();
    let probe = HealthProbe::new(&checked.cache).check_with(Rig::ID, functional);

    advance(just_under(secs(70))).await;
    assert!(!granted.grant_trial());
    probe.round().await;
    assert_eq!(checked.health().cause, Some(Cause::Throttled));
    advance(MOMENT).await;
    assert!(granted.grant_trial());
    probe.round().await;
    assert_eq!(checked.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn new_policy_keeps_the_end_of_a_window_and_its_jitter_applies_to_later_throttles() {
    let rig = Rig::new(with_jitter(1.0));
    let late = rig.call();
    rig.throttle(secs(30));
    let wait = rig.wait();
    rig.set_policy(without_jitter(Policy::new()));
    assert_eq!(rig.wait(), wait);
    late.throttled(Some(secs(90)), "slow down");
    assert_eq!(rig.wait(), secs(90));
}

#[tokio::test(start_paused = true)]
async fn longer_wait_than_max_hold_is_jittered_with_trials_by_probe_only() {
    let trials = Trials::default().by_probe_only(true);
    assert_spread(&Policy::new().trials(trials), secs(1_000), 0.1, |rig| {
        rig.throttle(secs(1_000));
    });
}
