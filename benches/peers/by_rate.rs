//! Breakers that trip by failure rate: over the last 30 s, or over the last hundred calls.

use std::time::Duration;

use failsafe::{backoff, failure_policy};
use recloser::Recloser;
use tower::Layer;
use tower_health::{Health, Trip};
use tower_resilience_circuitbreaker::{CircuitBreaker, CircuitBreakerLayer, DefaultClassifier};

use crate::services::{self, Backend, Failsafe, OPEN_FOR, Reclosed, SuccessRate};

const RATE: f32 = 0.5;
const WINDOW: Duration = Duration::from_secs(30);
const CALLS: u32 = 100;

pub(crate) fn health(inner: Backend) -> Health<Backend> {
    let trip = Trip::failure_rate(RATE.into(), WINDOW).min_calls(CALLS);
    services::health(trip, inner)
}

pub(crate) fn failsafe(inner: Backend) -> Failsafe<SuccessRate> {
    let pause = backoff::constant(OPEN_FOR);
    let policy = failure_policy::success_rate_over_time_window(RATE.into(), CALLS, WINDOW, pause);
    Failsafe::new(policy, inner)
}

pub(crate) fn recloser(inner: Backend) -> Reclosed {
    reclosed_at(RATE, inner)
}

pub(crate) fn recloser_that_never_trips(inner: Backend) -> Reclosed {
    reclosed_at(f32::INFINITY, inner)
}

fn reclosed_at(rate: f32, inner: Backend) -> Reclosed {
    let rules = Recloser::custom()
        .error_rate(rate)
        .closed_len(CALLS as usize)
        .open_wait(OPEN_FOR);
    Reclosed::new(rules.build(), inner)
}

/// Uses a window of calls. A window of time is walked through at each call, so its cost has no single figure.
pub(crate) fn resilience(inner: Backend) -> CircuitBreaker<Backend, DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .failure_rate_threshold(RATE.into())
        .sliding_window_size(CALLS as usize)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .expect("valid rules")
        .layer(inner)
}
