//! The designs that are compared. Each breaker trips at two failures in a row and stays open for 60 s; everything else is at its
//! default.

use std::{future::ready, thread, time::Duration};

use failsafe::{backoff, failure_policy, futures::CircuitBreaker};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_health::{
    BoxError, Check, FallbackChain, HealthCache, HealthLayer, HealthProbe, Provider,
};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use crate::{
    before::Gate,
    simulation::{Call, simulate},
    world::{Client, Source, client},
};

const FAILURES: u32 = 2;
const OPEN_FOR: Duration = Duration::from_secs(60);

pub(crate) struct Run {
    pub(crate) design: &'static str,
    pub(crate) calls: Vec<Call>,
}

type Simulation = fn() -> Vec<Call>;

/// Four other designs, then four with this crate.
pub(crate) fn run_all() -> Vec<Run> {
    let designs: [(_, Simulation); 8] = [
        ("no breaker", || simulate(bare)),
        ("before this crate", || simulate(before)),
        ("failsafe", || simulate(failsafe)),
        ("tower-resilience", || simulate(resilience)),
        ("tower-health", || simulate(health)),
        ("… with a reachability check", || simulate(reachability)),
        ("… with a functional check", || simulate(functional)),
        ("… with a second provider", || simulate(chain)),
    ];
    thread::scope(|scope| {
        let runs = designs.map(|(design, run)| (design, scope.spawn(run)));
        let runs = runs.into_iter().map(|(design, run)| Run {
            design,
            calls: run.join().expect("no design panics"),
        });
        runs.collect()
    })
}

fn bare() -> impl Client {
    client(Source::Provider)
}

fn before() -> impl Client {
    let gate = Gate::default();
    tokio::spawn(gate.clone().check());
    gate.guard(client(Source::Provider))
}

fn failsafe() -> impl Client {
    let pause = backoff::constant(OPEN_FOR);
    let breaker = failsafe::Config::new()
        .failure_policy(failure_policy::consecutive_failures(FAILURES, pause))
        .build();
    let client = client(Source::Provider);
    service_fn(move |()| breaker.call(client.clone().oneshot(())))
}

fn resilience() -> impl Client {
    CircuitBreakerLayer::builder()
        .consecutive_failures(FAILURES as usize)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .expect("valid rules")
        .layer(client(Source::Provider))
}

fn health() -> impl Client {
    guarded(HealthCache::default().provider("first"), Source::Provider)
}

/// Always passes, like a list of models that is served throughout the outage.
fn reachability() -> impl Client {
    checked(Check::new(|| ready(true)))
}

/// Calls the provider as the callers do.
fn functional() -> impl Client {
    let client = client(Source::Provider).map_response(drop);
    checked(Check::new(move || client.clone().oneshot(())).functional())
}

fn chain() -> impl Client {
    let cache = HealthCache::default();
    FallbackChain::new()
        .guard(cache.provider("first"), client(Source::Provider))
        .guard(cache.provider("second"), client(Source::Standby))
}

fn checked(check: Check) -> impl Client {
    let cache = HealthCache::default();
    let client = guarded(cache.provider("first"), Source::Provider);
    // Without jitter, so that every run gives the same numbers.
    let probe = HealthProbe::new(&cache).jitter(0.0);
    tokio::spawn(async move {
        probe.check_with("first", check).run().await;
        drop(cache);
    });
    client
}

/// With the default policy, which equals the settings of the peers.
fn guarded(provider: Provider, source: Source) -> impl Client<Error = BoxError> {
    ServiceBuilder::new()
        .layer(HealthLayer::new(provider))
        .service(client(source))
}
