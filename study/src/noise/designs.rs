//! The breakers that are compared, each with its own defaults.

use std::{iter, time::Duration};

use failsafe::{Config, FailurePolicy, failure_policy, futures::CircuitBreaker};
use tower::{Layer, Service, service_fn};
use tower_health::{Backoff, HealthCache, HealthLayer, Policy};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use super::{
    cost::Cost,
    traffic::{Client, Provider, Traffic},
};

pub(super) type Run = fn(Traffic) -> Cost;

pub(super) const DESIGNS: [(&str, Run); 4] = [
    ("failsafe", |traffic| traffic.through(failsafe)),
    ("tower-resilience", |traffic| traffic.through(resilience)),
    ("tower-health", |traffic| traffic.through(health)),
    ("`failover_after`", |traffic| traffic.through(failover)),
];

fn failsafe(provider: Provider) -> impl Client {
    let rate = failure_policy::success_rate_over_time_window(
        0.8,
        5,
        Duration::from_secs(30),
        equal_jittered(),
    );
    let in_a_row = failure_policy::consecutive_failures(5, equal_jittered());
    // The defaults of `Config::new`, except for the source of the jitter.
    let breaker = Config::new().failure_policy(rate.or_else(in_a_row)).build();
    service_fn(move |fails| {
        let mut provider = provider.clone();
        breaker.call(async move { provider.call(fails).await })
    })
}

/// Has the bounds of failsafe's own backoff, 10 s to 300 s, which takes no seed.
fn equal_jittered() -> impl Iterator<Item = Duration> + Clone {
    let whole = iter::successors(Some(10), |seconds: &u64| Some((2 * seconds).min(300)));
    whole.map(|seconds| Duration::from_secs(seconds / 2 + fastrand::u64(..=seconds / 2)))
}

fn resilience(provider: Provider) -> impl Client {
    CircuitBreakerLayer::builder()
        .build()
        .expect("its defaults are valid")
        .layer(provider)
}

fn health(provider: Provider) -> impl Client {
    guarded(Policy::new(), provider)
}

/// Without jitter, so that every run gives the same numbers.
fn failover(provider: Provider) -> impl Client {
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60));
    guarded(
        Policy::failover_after(Duration::from_secs(3)).backoff(backoff),
        provider,
    )
}

fn guarded(policy: Policy, provider: Provider) -> impl Client {
    HealthLayer::new(HealthCache::new(policy).provider("first")).layer(provider)
}
