//! Open windows and their ends.

use std::time::Duration;

use tokio::time::sleep;
use tower_health::{
    Backoff, Cause, Policy, State, Trials, Trip,
    fleet::{Fleet, Share},
};

use super::{FaultyStore, MINUTE, PATIENCE, POLL, Replica, SECOND, replicas, replicas_with};

#[tokio::test(start_paused = true)]
async fn one_failure_opens_a_warned_breaker_if_no_success_follows() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(POLL).await;
    assert_eq!(other.state(), State::Closed, "a warning opens nothing");

    other.fail();
    sleep(SECOND).await;
    assert_eq!(other.state(), State::Closed);
    sleep(PATIENCE).await;
    assert_eq!(
        (other.state(), other.cause()),
        (State::Open, Some(Cause::Failures))
    );
}

#[tokio::test(start_paused = true)]
async fn random_error_of_a_warned_breaker_opens_nothing() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(POLL).await;
    other.fail();
    other.succeed();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn success_ends_a_warning_for_the_whole_outage() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(POLL).await;
    other.succeed();
    sleep(10 * SECOND).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Closed);

    // The next outage warns again.
    sleep(MINUTE).await;
    one.fail_trial();
    one.provider.mark_healthy();
    sleep(3 * MINUTE).await;
    other.succeed();
    one.trip();
    sleep(POLL).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn warning_ends_with_the_outage() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(POLL).await;
    one.provider.mark_healthy();
    sleep(POLL).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn warning_ends_with_the_open_window() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(MINUTE + 2 * POLL).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn trust_opens_at_once_until_the_same_deadline() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    one.trip();
    sleep(POLL).await;
    assert_eq!(
        (other.state(), other.cause()),
        (State::Open, Some(Cause::Peer))
    );
    assert_eq!(
        other.provider.health().last_error.unwrap().label(),
        "timeout",
        "the label is shared"
    );
    let later = one.retry_in().saturating_sub(other.retry_in());
    assert!(later <= Duration::from_millis(5), "{later:?} later");
    assert!(other.retry_in() <= one.retry_in());
}

#[tokio::test(start_paused = true)]
async fn opening_is_exchanged_at_once() {
    let store = FaultyStore::default();
    let slow = |cache: &_| Fleet::new(cache, store.clone()).poll_interval(5 * SECOND);
    let one = Replica::of(slow);
    sleep(SECOND).await;
    one.trip();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(store.writes_of("open/a"), 1);
}

#[tokio::test(start_paused = true)]
async fn quorum_opens_those_that_have_not_called() {
    let ([one, two, idle, healthy], _store) = replicas(Share::Quorum).await;
    one.trip();
    sleep(2 * POLL).await;
    assert_eq!(idle.state(), State::Closed, "one replica is no quorum");

    healthy.succeed();
    two.fail();
    sleep(PATIENCE).await;
    assert_eq!(two.state(), State::Open, "two has been warned");
    sleep(3 * POLL).await;
    assert_eq!(
        (idle.state(), idle.cause()),
        (State::Open, Some(Cause::Peer))
    );
    assert_eq!(
        healthy.state(),
        State::Closed,
        "its own success counts more"
    );
}

#[tokio::test(start_paused = true)]
async fn more_replicas_that_are_served_prevent_a_quorum() {
    let ([one, two, idle, a, b, c], _store) = replicas(Share::Quorum).await;
    one.trip();
    sleep(2 * POLL).await;
    for served in [&a, &b, &c] {
        served.succeed();
    }
    sleep(2 * POLL).await;
    two.fail();
    sleep(PATIENCE).await;
    assert_eq!(two.state(), State::Open);
    sleep(3 * POLL).await;
    assert_eq!(idle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn success_of_one_trial_closes_all() {
    for share in [Share::Advise, Share::Quorum, Share::Trust] {
        let ([one, two, three], _store) = replicas(share).await;
        for replica in [&one, &two, &three] {
            replica.trip();
        }
        sleep(MINUTE).await;
        one.win_trial().await.success();
        sleep(POLL).await;
        for replica in [&one, &two, &three] {
            assert_eq!(replica.state(), State::Closed, "{share:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failed_trial_lengthens_the_wait_of_all() {
    let policy = Policy::new().backoff(Backoff::exponential(MINUTE, 10 * MINUTE));
    let ([one, other], _store) = replicas_with(&policy, Share::Advise).await;
    one.trip();
    other.trip();
    sleep(MINUTE).await;
    one.win_trial().await.failure("timeout");
    sleep(POLL).await;
    assert_eq!(other.state(), State::Open);
    assert!(other.retry_in() > 110 * SECOND, "{:?}", other.retry_in());
    assert_eq!(other.provider.health().failed_trials, 1);
}

#[tokio::test(start_paused = true)]
async fn end_of_an_old_outage_does_not_end_a_new_one() {
    let ([one, other], store) = replicas(Share::Trust).await;
    one.trip();
    sleep(POLL).await;
    // `other` closes while it cannot reach the store.
    store.set(super::Fault::Refusing);
    sleep(POLL).await;
    other.provider.mark_healthy();
    one.provider.mark_healthy();
    store.memory.clear();
    one.trip();
    store.set(super::Fault::None);
    sleep(MINUTE / 2).await;
    assert_eq!(one.state(), State::Open);
    assert_eq!(other.state(), State::Open, "the new outage has reached it");
}

#[tokio::test(start_paused = true)]
async fn later_deadline_wins() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    one.trip();
    sleep(30 * SECOND).await;
    other.fail();
    sleep(PATIENCE + POLL).await;
    let apart = one.retry_in().abs_diff(other.retry_in());
    assert!(apart < Duration::from_millis(100), "{apart:?} apart");
    assert!(one.retry_in() > 57 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn deadline_does_not_creep_as_replicas_repeat_it() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    one.trip();
    sleep(30 * SECOND).await;
    assert!(one.retry_in() <= MINUTE / 2);
    assert!(other.retry_in() <= MINUTE / 2);
}

#[tokio::test(start_paused = true)]
async fn peers_deadline_is_limited_by_the_own_backoff() {
    let store = FaultyStore::default();
    let hour = Policy::new().backoff(Backoff::constant(60 * MINUTE));
    let one = Replica::with(hour, |cache| Fleet::new(cache, store.clone()));
    let other = Replica::of(|cache| Fleet::new(cache, store.clone()).share(Share::Trust));
    sleep(POLL).await;
    one.trip();
    sleep(POLL).await;
    assert_eq!(other.state(), State::Open);
    assert!(other.retry_in() <= MINUTE);
}

#[tokio::test(start_paused = true)]
async fn fleet_comes_back_by_slow_starts() {
    let policy = Policy::new().trials(Trials::new(1).slow_start());
    let ([one, other], _store) = replicas_with(&policy, Share::Advise).await;
    one.trip();
    other.trip();
    sleep(MINUTE).await;
    one.win_trial().await.success();
    sleep(POLL).await;
    assert_eq!(other.state(), State::HalfOpen);
    let first = other.provider.admit().expect("a slow start needs no lease");
    let second = other.provider.admit().expect("two at once");
    assert!(other.provider.admit().is_err());
    drop((first, second));
}

#[tokio::test(start_paused = true)]
async fn random_errors_do_not_let_a_broken_replica_take_the_provider() {
    let ([broken, healthy], _store) = replicas(Share::Advise).await;
    let mut refused = 0;
    for second in 0..600 {
        // Every call of the broken replica fails, and every tenth of the healthy one.
        if let Ok(permit) = broken.provider.admit() {
            permit.failure("timeout");
        }
        for call in 0..10 {
            match healthy.provider.admit() {
                Ok(permit) if call == second % 10 => permit.failure("timeout"),
                Ok(permit) => permit.success(),
                Err(_) => refused += 1,
            }
        }
        sleep(SECOND).await;
    }
    assert_eq!(refused, 0);
}

#[tokio::test(start_paused = true)]
async fn failure_rate_alone_is_warned_too() {
    let policy = Policy::new().trip(Trip::failure_rate(0.5, MINUTE).min_calls(10));
    let ([one, other], _store) = replicas_with(&policy, Share::Advise).await;
    for _ in 0..10 {
        one.fail();
    }
    sleep(POLL).await;
    other.fail();
    sleep(PATIENCE).await;
    assert_eq!(other.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn hour_of_flapping_leaves_nothing_in_the_store() {
    let ([one, other], store) = replicas(Share::Advise).await;
    for _ in 0..60 {
        one.trip();
        sleep(POLL).await;
        other.fail();
        sleep(MINUTE / 2).await;
        one.provider.mark_healthy();
        other.provider.mark_healthy();
        sleep(MINUTE / 2).await;
    }
    let most_ends_of_two_minutes = 4;
    let entries = store.entries().await;
    assert!(entries.len() <= most_ends_of_two_minutes, "{entries:?}");
    sleep(2 * MINUTE).await;
    assert_eq!(store.entries().await, []);
}
