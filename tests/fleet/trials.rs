//! Trials of a half-open provider: the fleet makes one at a time.

use std::time::Duration;

use tokio::time::sleep;
use tower_health::{
    Permit, Policy, State, Trials,
    fleet::{Fleet, Share},
};

use super::{FaultyStore, MINUTE, POLL, Replica, SECOND, replicas, replicas_with};

impl Replica {
    /// Calls until this replica has the lease. Returns the trial.
    pub(super) async fn win_trial(&self) -> Permit {
        for _ in 0..100 {
            if let Ok(permit) = self.provider.admit() {
                assert!(permit.is_trial());
                return permit;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no trial within 5 s: {:?}", self.provider.health());
    }

    pub(super) fn fail_trial(&self) {
        if let Ok(permit) = self.provider.admit() {
            permit.failure("timeout");
        }
    }
}

/// Returns replicas with half-open breakers.
async fn half_open<const N: usize>() -> ([Replica; N], FaultyStore) {
    let (replicas, store) = replicas(Share::Advise).await;
    for replica in &replicas {
        replica.trip();
    }
    sleep(MINUTE).await;
    for replica in &replicas {
        assert_eq!(replica.state(), State::HalfOpen);
    }
    (replicas, store)
}

#[tokio::test(start_paused = true)]
async fn twenty_replicas_send_one_trial() {
    let (replicas, _store) = half_open::<20>().await;
    let mut trials = Vec::new();
    for _ in 0..100 {
        trials.extend(replicas.iter().filter_map(|it| it.provider.admit().ok()));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(trials.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn call_that_asks_for_the_lease_is_refused_and_a_later_one_is_the_trial() {
    let ([one], _store) = half_open::<1>().await;
    assert!(!one.provider.is_healthy());
    let refusal = one.provider.admit().unwrap_err();
    assert_eq!(refusal.state(), State::HalfOpen);
    sleep(Duration::from_millis(60)).await;
    assert!(one.provider.is_healthy());
    assert!(one.provider.admit().unwrap().is_trial());
}

#[tokio::test(start_paused = true)]
async fn lease_is_not_asked_for_without_demand() {
    let ([idle, busy], _store) = half_open::<2>().await;
    sleep(MINUTE).await;
    assert_eq!(idle.state(), State::HalfOpen);
    // If `idle` had taken the lease, `busy` would not get it.
    busy.win_trial().await.success();
}

#[tokio::test(start_paused = true)]
async fn chain_that_only_skips_is_demand() {
    let ([one], _store) = half_open::<1>().await;
    // A chain asks each of its providers this.
    assert!(!one.provider.is_healthy());
    sleep(Duration::from_millis(60)).await;
    assert!(one.provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_replica_that_dies_ends_by_itself() {
    let ([one, other], _store) = half_open::<2>().await;
    let trial = one.win_trial().await;
    assert!(other.provider.admit().is_err());
    sleep(14 * SECOND).await;
    assert!(other.provider.admit().is_err());
    sleep(2 * SECOND).await;
    other.win_trial().await.success();
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn stopped_replica_gives_its_lease_back() {
    let ([one, other], _store) = half_open::<2>().await;
    let trial = one.win_trial().await;
    one.fleet.stop().await;
    other.win_trial().await.success();
    trial.success();
    assert_eq!(one.state(), State::Closed, "it goes on alone");
}

#[tokio::test(start_paused = true)]
async fn replica_that_stops_right_after_its_trial_gives_its_lease_back() {
    let ([one], store) = half_open::<1>().await;
    one.win_trial().await.success();
    one.fleet.stop().await;
    assert_eq!(store.released.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn replica_whose_trial_failed_asks_last() {
    let ([broken, healthy], _store) = half_open::<2>().await;
    broken.win_trial().await.failure("timeout");
    sleep(MINUTE + SECOND / 2).await;
    assert_eq!(healthy.state(), State::HalfOpen);
    // Both ask at the same time, `broken` first.
    assert!(broken.provider.admit().is_err());
    sleep(SECOND).await;
    healthy.win_trial().await.success();
    sleep(POLL).await;
    assert_eq!(broken.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn trial_that_cannot_be_had_in_time_is_made_without_the_lease() {
    let store = FaultyStore::default();
    let fleet = |cache: &_| {
        Fleet::new(cache, store.clone())
            .trial_lease(10 * MINUTE)
            .trial_wait(20 * SECOND)
    };
    let [one, other] = [(); 2].map(|()| Replica::of(fleet));
    sleep(POLL).await;
    one.trip();
    other.trip();
    sleep(MINUTE).await;
    let hanging = one.win_trial().await;
    assert!(other.provider.admit().is_err());
    sleep(19 * SECOND).await;
    assert!(other.provider.admit().is_err());
    sleep(12 * SECOND).await;
    assert!(other.provider.admit().unwrap().is_trial());
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn neutral_trial_is_followed_by_another_of_the_same_replica() {
    let ([one, other], _store) = half_open::<2>().await;
    one.win_trial().await.neutral();
    sleep(SECOND / 10).await;
    assert!(other.provider.admit().is_err());
    one.provider.admit().unwrap().success();
    sleep(POLL).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn round_of_several_trials_keeps_the_lease() {
    let policy = Policy::new().trials(Trials::new(1).to_close(3));
    let ([one, other], _store) = replicas_with(&policy, Share::Advise).await;
    one.trip();
    other.trip();
    sleep(MINUTE).await;
    one.win_trial().await.success();
    for _ in 0..2 {
        sleep(SECOND).await;
        assert!(other.provider.admit().is_err());
        one.succeed();
    }
    assert_eq!(one.state(), State::Closed);
    sleep(POLL).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn granted_trial_needs_no_lease() {
    let ([one, other], _store) = half_open::<2>().await;
    let _trial = one.win_trial().await;
    assert!(other.provider.admit().is_err());
    assert!(other.provider.grant_trial());
    other.provider.admit().unwrap().success();
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn refusal_names_the_time_at_which_the_fleet_has_answered() {
    let ([one, other], _store) = half_open::<2>().await;
    let _trial = one.win_trial().await;
    let refusal = other.provider.admit().unwrap_err();
    assert!(refusal.retry_in() <= SECOND);
    sleep(5 * SECOND).await;
    let refusal = other.provider.admit().unwrap_err();
    assert!(refusal.retry_in() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn seldom_called_provider_gets_its_trial_although_leases_end_unused() {
    let ([one], _store) = half_open::<1>().await;
    assert!(one.provider.admit().is_err());
    sleep(5 * MINUTE).await;
    assert!(
        one.provider.admit().unwrap().is_trial(),
        "it has kept the lease"
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_with_few_calls_take_turns() {
    let (replicas, _store) = half_open::<3>().await;
    // Each replica has a call every minute.
    let mut refused = 0;
    let trial = 'found: loop {
        for replica in &replicas {
            match replica.provider.admit() {
                Ok(trial) => break 'found trial,
                Err(_) => refused += 1,
            }
            sleep(20 * SECOND).await;
        }
    };
    assert!(trial.is_trial());
    assert!(refused <= 9, "{refused} calls in {} s", 20 * refused);
}

#[tokio::test(start_paused = true)]
async fn replica_whose_lease_has_ended_needs_another_for_its_next_trial() {
    let policy = Policy::new().trials(Trials::new(1).lease(5 * SECOND));
    let ([one, other], _store) = replicas_with(&policy, Share::Advise).await;
    one.trip();
    other.trip();
    sleep(MINUTE).await;
    let hanging = one.win_trial().await;
    assert!(other.provider.admit().is_err());
    sleep(16 * SECOND).await;
    let second = other.win_trial().await;
    assert!(one.provider.admit().is_err());
    drop((hanging, second));
}

#[tokio::test(start_paused = true)]
async fn trial_in_flight_decides_although_another_replicas_trial_has_failed() {
    let ([one, other], _store) = half_open::<2>().await;
    let trial = one.win_trial().await;
    assert!(other.provider.grant_trial(), "it needs no lease");
    other.fail();
    assert_eq!(other.state(), State::Open);
    sleep(2 * POLL).await;
    assert_eq!(one.state(), State::HalfOpen);
    trial.success();
    sleep(POLL).await;
    assert_eq!(one.state(), State::Closed);
    assert_eq!(other.state(), State::Closed);
}
