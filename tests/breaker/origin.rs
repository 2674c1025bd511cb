//! The behaviours of the gateway module from which this crate began, as tests.

use tokio::time::{Instant, advance};
use tower_health::{HealthCache, Policy, State, Trip};

use crate::rig::{MOMENT, Rig, just_under, secs};

#[tokio::test(start_paused = true)]
async fn defaults_are_two_failures_and_sixty_seconds() {
    let rig = Rig::new(Policy::default());
    rig.mark_unhealthy("timeout");
    assert!(rig.is_healthy());
    rig.mark_unhealthy("timeout");
    assert_eq!(rig.wait(), secs(60));
}

#[test]
#[should_panic(expected = "`Trip::consecutive` must be at least 1, got 0")]
fn threshold_of_zero_is_refused() {
    let _ = Trip::consecutive(0);
}

#[tokio::test(start_paused = true)]
async fn unknown_provider_is_healthy_and_has_no_state() {
    let cache = HealthCache::default();
    assert!(cache.is_healthy("groq"));
    assert!(cache.get("groq").is_none());
    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn snapshot_with_expected_ids_fills_in_zero_rows() {
    let cache = HealthCache::default();
    let snapshot = cache.snapshot_of(["groq", "openai"]);
    assert_eq!(snapshot.providers.len(), 2);
    for row in &snapshot.providers {
        assert_eq!(row.state, State::Closed);
        assert!(row.healthy);
        assert_eq!(row.consecutive_failures, 0);
        assert_eq!(row.last_error, None);
        assert_eq!(row.last_check, None);
    }
}

#[tokio::test(start_paused = true)]
async fn snapshot_with_expected_ids_does_not_overwrite_real_rows() {
    let cache = HealthCache::default();
    cache.provider("groq").mark_unhealthy("timeout");
    let snapshot = cache.snapshot_of(["groq", "openai"]);
    let groq = snapshot.get("groq").unwrap();
    assert_eq!(groq.consecutive_failures, 1);
    assert_eq!(groq.last_error.as_deref(), Some("timeout"));
    assert_eq!(snapshot.get("openai").unwrap().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn first_failure_does_not_trip_and_the_second_does() {
    let rig = Rig::new(Policy::default());
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
    rig.fail();
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn threshold_of_one_trips_at_once() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(1)));
    rig.mark_unhealthy("timeout");
    assert_eq!(rig.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn mark_healthy_clears_all() {
    let rig = Rig::open(Policy::default());
    rig.mark_healthy();
    let health = rig.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!(health.last_error, None);
    assert_eq!(health.retry_in, None);
    rig.fail();
    assert!(rig.is_healthy(), "the first failure anew");
}

#[tokio::test(start_paused = true)]
async fn refused_at_30_s_of_a_backoff_and_admitted_at_61_s() {
    let rig = Rig::open(Policy::default());
    advance(secs(30)).await;
    assert!(rig.admit().is_err());
    advance(secs(31)).await;
    assert!(rig.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn failure_at_20_s_of_a_backoff_moves_the_deadline_to_60_s_from_then() {
    let rig = Rig::open(Policy::default());
    advance(secs(20)).await;
    rig.mark_unhealthy("timeout");
    advance(just_under(secs(60))).await;
    assert!(rig.admit().is_err());
    advance(MOMENT).await;
    assert!(rig.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn recovery_is_announced_once() {
    let rig = Rig::half_open(Policy::default()).await;
    let mut transitions = rig.cache.subscribe();
    rig.succeed();
    rig.succeed();
    rig.mark_healthy();
    let recovery = transitions.recv().await.unwrap();
    assert_eq!(
        (recovery.from, recovery.to),
        (State::HalfOpen, State::Closed)
    );
    drop(rig);
    assert!(transitions.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_copies() {
    let rig = Rig::open(Policy::default());
    let mut snapshot = rig.cache.snapshot();
    snapshot.providers[0].state = State::Closed;
    snapshot.providers.clear();
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.cache.snapshot().providers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn snapshot_shows_count_error_and_time_of_check() {
    let rig = Rig::new(Policy::default());
    advance(secs(5)).await;
    rig.mark_unhealthy("timeout");
    let marked = Instant::now();
    advance(secs(5)).await;
    let snapshot = rig.cache.snapshot();
    let row = snapshot.get(Rig::ID).unwrap();
    assert_eq!(row.consecutive_failures, 1);
    assert_eq!(row.last_error.as_deref(), Some("timeout"));
    assert_eq!(row.last_check, Some(marked));
}
