//! Breakers that count failures in a row.

use failsafe::{backoff, failure_policy};
use tower::Layer;
use tower_health::{Health, Trip};
use tower_resilience_circuitbreaker::{CircuitBreaker, CircuitBreakerLayer, DefaultClassifier};

use crate::services::{self, Backend, ConsecutiveFailures, Failsafe, OPEN_FOR};

pub(crate) fn health(failures: u32, inner: Backend) -> Health<Backend> {
    services::health(Trip::consecutive(failures), inner)
}

pub(crate) fn failsafe(failures: u32, inner: Backend) -> Failsafe<ConsecutiveFailures> {
    let pause = backoff::constant(OPEN_FOR);
    Failsafe::new(failure_policy::consecutive_failures(failures, pause), inner)
}

pub(crate) fn resilience(
    failures: u32,
    inner: Backend,
) -> CircuitBreaker<Backend, DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .consecutive_failures(failures as usize)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .expect("valid rules")
        .layer(inner)
}
