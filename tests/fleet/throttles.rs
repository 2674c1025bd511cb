//! Throttles: pauses that a provider has asked for.

use tokio::time::sleep;
use tower_health::{
    Cause, State,
    fleet::{Fleet, Share},
};

use super::{MINUTE, POLL, Replica, SECOND, replicas};

fn throttle(replica: &Replica, seconds: u32) {
    let permit = replica.provider.admit().unwrap();
    permit.throttled(Some(seconds * SECOND), "429");
}

#[tokio::test(start_paused = true)]
async fn throttle_opens_all_of_its_scope() {
    let ([one, other], store) = replicas(Share::Advise).await;
    let elsewhere = Replica::of(|cache| Fleet::new(cache, store.clone()).quota_scope("eu"));
    sleep(POLL).await;
    throttle(&one, 30);
    sleep(POLL).await;
    assert_eq!(
        (other.state(), other.cause()),
        (State::Open, Some(Cause::Peer))
    );
    assert!(other.retry_in() <= one.retry_in());
    assert_eq!(elsewhere.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn trial_verifies_a_long_throttle_after_a_minute() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    throttle(&one, 3_600);
    sleep(POLL).await;
    assert!(other.retry_in() <= MINUTE);
    sleep(MINUTE).await;
    other.win_trial().await.success();
    assert_eq!(other.state(), State::Closed);
    sleep(5 * POLL).await;
    assert_eq!(other.state(), State::Closed);
    assert_eq!(
        one.state(),
        State::Open,
        "the provider has asked it to wait"
    );
}

#[tokio::test(start_paused = true)]
async fn throttle_that_is_verified_opens_again() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    throttle(&one, 3_600);
    sleep(POLL + MINUTE).await;
    let trial = other.win_trial().await;
    trial.throttled(Some(30 * SECOND), "429");
    assert_eq!(other.cause(), Some(Cause::Throttled));
    sleep(POLL).await;
    assert!(other.retry_in() > 25 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn granted_trial_does_not_shorten_a_peers_throttle() {
    let ([one, other], _store) = replicas(Share::Advise).await;
    throttle(&one, 30);
    sleep(POLL).await;
    assert!(!other.provider.grant_trial());
}
