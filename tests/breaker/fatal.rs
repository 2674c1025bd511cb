//! A fatal outcome opens the breaker at once, whatever the trip rule; otherwise it counts as a failure.

use std::time::Duration;

use tokio::time::advance;
use tower_health::{Backoff, Cause, HealthCache, Outcome, Policy, Provider, State, Trip};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn opens_before_the_streak_is_long_enough() {
    let provider = provider(Trip::consecutive(5));

    record(&provider, Outcome::fatal("401"));

    let health = provider.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.consecutive_failures, 1);
    assert_eq!(health.last_error.unwrap(), "401");
    assert_eq!(health.retry_in, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn opens_before_the_failure_rate_means_anything() {
    let provider = provider(Trip::failure_rate(0.5, 30 * SECOND).min_calls(100));

    record(&provider, Outcome::fatal("401"));

    assert_eq!(provider.health().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_ends_so_opens_again_for_longer() {
    let provider = provider(Trip::consecutive(5));
    record(&provider, Outcome::fatal("401"));
    advance(SECOND).await;

    record(&provider, Outcome::fatal("401"));

    assert_eq!(provider.health().retry_in, Some(2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_permit_records_it() {
    let provider = provider(Trip::consecutive(5));

    provider.admit().unwrap().fatal("401");

    let health = provider.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.last_error.unwrap(), "401");
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn a_late_one_moves_nothing() {
    let provider = provider(Trip::consecutive(5));
    let before_the_trip = provider.admit().unwrap();
    record(&provider, Outcome::fatal("401"));
    provider.mark_healthy();

    before_the_trip.record(Outcome::fatal("401"));

    let health = provider.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!(health.last_error, None);
}

fn provider(trip: Trip) -> Provider {
    HealthCache::new(policy(trip)).provider("groq")
}

/// Open for one second at first, then for two.
fn policy(trip: Trip) -> Policy {
    let backoff = Backoff::exponential(SECOND, 60 * SECOND);
    Policy::new().trip(trip).backoff(backoff)
}

fn record(provider: &Provider, outcome: Outcome) {
    provider.admit().unwrap().record(outcome);
}
