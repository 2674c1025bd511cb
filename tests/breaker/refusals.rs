//! Refusals, which are made without the lock.

use std::thread;

use tokio::time::advance;
use tower_health::{Cause, HealthCache, Override, Policy, Provider, State, Trials, Trip};

use crate::rig::{Rig, secs, without_jitter};

/// Returns the provider id, the cause and the last error of a refusal now.
fn refused(provider: &Provider) -> (String, Option<Cause>, String) {
    let refusal = provider.admit().unwrap_err();
    let last_error = refusal.last_error().unwrap().to_string();
    (refusal.provider().to_owned(), refusal.cause(), last_error)
}

#[tokio::test(start_paused = true)]
async fn refusal_that_is_kept_counts_down_to_zero() {
    let rig = Rig::open(Policy::new());
    let refusal = rig.admit().unwrap_err();
    let clone = refusal.clone();
    for left in [60, 45, 30, 15] {
        assert_eq!(refusal.retry_in(), secs(left));
        assert_eq!(clone.retry_in(), secs(left));
        assert_eq!(rig.health().retry_in, Some(secs(left)));
        advance(secs(15)).await;
    }
    assert_eq!(refusal.retry_in(), secs(0));
    advance(secs(3_600)).await;
    assert_eq!(refusal.retry_in(), secs(0));
}

/// Rule 7.
#[tokio::test(start_paused = true)]
async fn refusal_that_is_kept_reads_half_open_once_the_open_window_has_ended() {
    let rig = Rig::open(Policy::new());
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.state(), State::Open);
    assert_eq!(
        refusal.to_string(),
        "circuit breaker of `a` is open, retry in 60.0s: down"
    );

    advance(secs(60)).await;
    assert_eq!(refusal.state(), State::HalfOpen);
    assert_eq!(
        refusal.to_string(),
        "circuit breaker of `a` is half-open, retry now: down"
    );
    assert_eq!(
        format!("{refusal:?}"),
        r#"CircuitOpen { provider: "a", state: HalfOpen, cause: Some(Failures), retry_in: 0ns, last_error: Some("down"), is_released: false }"#
    );
}

/// The refusal does not know the state beneath the override.
#[tokio::test(start_paused = true)]
async fn refusal_for_an_override_that_is_kept_still_reads_open() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Open, secs(10), "maintenance");
    let refusal = rig.admit().unwrap_err();
    advance(secs(10)).await;

    assert_eq!(refusal.state(), State::Open);
    assert_eq!(refusal.cause(), Some(Cause::Forced));
    assert_eq!(refusal.retry_in(), secs(0));
    assert_eq!(rig.state(), State::Closed);
}

/// Rule 7: each of these changes alters something that a refusal shows.
#[tokio::test(start_paused = true)]
async fn refusal_shows_every_change_of_an_open_breaker() {
    let policy = Policy::new().trip(Trip::consecutive(1));
    let rig = Rig::new(without_jitter(policy));
    let in_flight = rig.call();
    rig.fail();
    let changes: [&dyn Fn(&Provider); 4] = [
        &|provider| provider.mark_unhealthy("still down"),
        &|provider| provider.force(Override::Open, secs(3_600), "maintenance"),
        &|provider| provider.force(Override::Open, secs(60), "maintenance"),
        &Provider::unforce,
    ];
    let mut shown = vec![format!("{:?}", rig.admit().unwrap_err())];
    for change in changes {
        change(&rig);
        // Compares the refusal with the snapshot.
        rig.health();
        shown.push(format!("{:?}", rig.admit().unwrap_err()));
    }
    in_flight.throttled(Some(secs(600)), "slow down");
    assert_eq!(rig.health().retry_in, Some(secs(600)));
    shown.push(format!("{:?}", rig.admit().unwrap_err()));
    shown.dedup();
    assert_eq!(shown.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn refusal_ends_early_if_the_override_does_and_another_takes_its_place() {
    let rig = Rig::open(Policy::new());
    rig.force(Override::Open, secs(10), "maintenance");
    assert_eq!(rig.admit().unwrap_err().cause(), Some(Cause::Forced));
    assert_eq!(rig.admit().unwrap_err().retry_in(), secs(60));

    advance(secs(10)).await;
    assert_eq!(rig.admit().unwrap_err().cause(), Some(Cause::Failures));
    assert_eq!(rig.admit().unwrap_err().retry_in(), secs(50));
}

#[tokio::test(start_paused = true)]
async fn refusal_by_a_half_open_breaker_ends_with_its_trial() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(1).pause(secs(1)))).await;
    let trial = rig.call();
    for _ in 0..2 {
        assert_eq!(rig.admit().unwrap_err().state(), State::HalfOpen);
    }
    trial.failure("down again");
    assert_eq!(refused(&rig).2, "down again");
    assert_eq!(rig.state(), State::Open);
}

/// More breakers than a thread keeps refusals for.
#[test]
fn many_breakers_in_turn_each_refuse_for_themselves() {
    let cache = HealthCache::default();
    let providers: Vec<_> = (0..100)
        .map(|number| cache.provider(format!("provider-{number}")))
        .collect();
    for (number, provider) in providers.iter().enumerate() {
        for _ in 0..2 {
            provider.mark_unhealthy(format!("error {number}"));
        }
    }
    for _ in 0..3 {
        for (number, provider) in providers.iter().enumerate() {
            let of_its_own = (
                format!("provider-{number}"),
                Some(Cause::Failures),
                format!("error {number}"),
            );
            assert_eq!(refused(provider), of_its_own);
        }
    }
}

/// A thread keeps refusals for longer than their breakers live.
#[test]
fn breaker_of_the_same_id_does_not_refuse_for_the_one_before() {
    let cache = HealthCache::default();
    for error in ["first", "second", "third"] {
        let provider = cache.provider("a");
        assert!(provider.is_healthy());
        provider.mark_unhealthy(error);
        provider.mark_unhealthy(error);
        assert_eq!(refused(&provider).2, error);
        cache.remove("a");
    }
}

#[test]
fn every_thread_is_refused_for_the_last_error_that_it_knows_of() {
    let rig = Rig::open(Policy::new());
    thread::scope(|scope| {
        for number in 0..4 {
            let provider = rig.clone();
            scope.spawn(move || {
                for turn in 0..200 {
                    // Only later errors of other threads may replace it.
                    let own = format!("{number}: {turn:03}");
                    provider.mark_unhealthy(own.clone());
                    let (.., error) = refused(&provider);
                    assert!(!error.starts_with(&format!("{number}:")) || error == own);
                }
            });
        }
    });
}
