//! The designs that are compared. Each breaker trips at two failures in a row and stays open for 60 s, unless its row says
//! otherwise; everything else is at its default.

use std::{future::ready, thread, time::Duration};

use failsafe::{backoff, failure_policy, futures::CircuitBreaker};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_health::{
    Backoff, BoxError, Check, FallbackChain, HealthCache, HealthLayer, HealthProbe, Policy,
    Provider, Trials, Trip,
};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use crate::{
    before::Gate,
    simulation::{Record, simulate},
    world::{Client, Source, Trouble, World},
};

const FAILURES: u32 = 2;
const OPEN_FOR: Duration = Duration::from_secs(60);
const SLOW: Duration = Duration::from_secs(3);
const OFTEN: Duration = Duration::from_secs(5);

pub(crate) struct Run {
    pub(crate) design: &'static str,
    pub(crate) record: Record,
}

type Simulation = fn(Trouble) -> Record;

/// The rows that the charts and the README show.
pub(crate) const BARE: &str = "no breaker";
pub(crate) const PEER: &str = "tower-resilience";
pub(crate) const DEFAULT: &str = "tower-health";
pub(crate) const FUNCTIONAL: &str = "… with a functional check";
pub(crate) const CHECKED_OFTEN: &str = "… with a functional check every 5 s";
pub(crate) const CHAIN: &str = "… with a second provider";
pub(crate) const FAILOVER: &str = "… `failover_after(3 s)`: all of these";
pub(crate) const FAILOVER_CHAIN: &str = "… and a second provider";

/// Runs the designs for a provider that hangs: four others, then what this crate offers, alone and combined.
pub(crate) fn run_all() -> Vec<Run> {
    let designs: [(_, Simulation); 17] = [
        (BARE, |trouble| simulate(trouble, bare)),
        ("before this crate", |trouble| simulate(trouble, before)),
        ("failsafe", |trouble| simulate(trouble, failsafe)),
        (PEER, |trouble| simulate(trouble, resilience)),
        (DEFAULT, |trouble| simulate(trouble, health)),
        ("… with a reachability check", |trouble| {
            simulate(trouble, reachability)
        }),
        (FUNCTIONAL, |trouble| simulate(trouble, functional)),
        (CHECKED_OFTEN, |trouble| simulate(trouble, checked_often)),
        (CHAIN, |trouble| simulate(trouble, chain)),
        ("… `slow_call(3 s)`", |trouble| {
            simulate(trouble, slow_call)
        }),
        ("… `slow_call(3 s)` and `release_on_open`", |trouble| {
            simulate(trouble, releasing)
        }),
        ("… a backoff from 1 s to 60 s", |trouble| {
            simulate(trouble, impatient)
        }),
        ("… `slow_start`", |trouble| simulate(trouble, slow_start)),
        (FAILOVER, |trouble| simulate(trouble, failover)),
        ("… and a functional check every 5 s", |trouble| {
            simulate(trouble, checked_failover)
        }),
        (FAILOVER_CHAIN, |trouble| simulate(trouble, failover_chain)),
        ("… and both", |trouble| {
            simulate(trouble, checked_failover_chain)
        }),
    ];
    run(Trouble::Hang, designs)
}

/// Runs four designs in each of the other troubles.
pub(crate) fn run_troubles() -> Vec<(&'static str, Vec<Run>)> {
    let designs: [(_, Simulation); 4] = [
        (BARE, |trouble| simulate(trouble, bare)),
        (DEFAULT, |trouble| simulate(trouble, health)),
        (CHAIN, |trouble| simulate(trouble, chain)),
        (
            "… `failover_after(3 s)` and a second provider",
            |trouble| simulate(trouble, failover_chain),
        ),
    ];
    let troubles = [
        ("fails at once", Trouble::Errors),
        ("hangs for every second call", Trouble::BrownOut),
        ("takes ten times as long", Trouble::SlowDown),
    ];
    troubles
        .map(|(name, trouble)| (name, run(trouble, designs)))
        .into()
}

fn run<const N: usize>(trouble: Trouble, designs: [(&'static str, Simulation); N]) -> Vec<Run> {
    thread::scope(|scope| {
        let runs = designs.map(|(design, run)| (design, scope.spawn(move || run(trouble))));
        let runs = runs.into_iter().map(|(design, run)| Run {
            design,
            record: run.join().expect("no design panics"),
        });
        runs.collect()
    })
}

fn bare(world: &World) -> impl Client + use<> {
    world.client(Source::Provider)
}

fn before(world: &World) -> impl Client + use<> {
    let gate = Gate::default();
    tokio::spawn(gate.clone().check());
    gate.guard(world.client(Source::Provider))
}

fn failsafe(world: &World) -> impl Client + use<> {
    let pause = backoff::constant(OPEN_FOR);
    let breaker = failsafe::Config::new()
        .failure_policy(failure_policy::consecutive_failures(FAILURES, pause))
        .build();
    let client = world.client(Source::Provider);
    service_fn(move |()| breaker.call(client.clone().oneshot(())))
}

fn resilience(world: &World) -> impl Client + use<> {
    CircuitBreakerLayer::builder()
        .consecutive_failures(FAILURES as usize)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .expect("valid rules")
        .layer(world.client(Source::Provider))
}

/// With the default policy, which equals the settings of the peers.
fn health(world: &World) -> impl Client + use<> {
    alone(world, Policy::new())
}

/// Always passes, like a list of models that is served throughout the outage.
fn reachability(world: &World) -> impl Client + use<> {
    checked(world, Policy::new(), Check::new(|| ready(true)))
}

fn functional(world: &World) -> impl Client + use<> {
    checked(world, Policy::new(), check(world))
}

fn checked_often(world: &World) -> impl Client + use<> {
    checked(world, Policy::new(), check(world).interval(OFTEN))
}

fn chain(world: &World) -> impl Client + use<> {
    with_standby(world, &HealthCache::default())
}

fn slow_call(world: &World) -> impl Client + use<> {
    alone(world, Policy::new().trip(Trip::default().slow_call(SLOW)))
}

fn releasing(world: &World) -> impl Client + use<> {
    let trip = Trip::default().slow_call(SLOW);
    alone(world, Policy::new().trip(trip).release_on_open(true))
}

fn impatient(world: &World) -> impl Client + use<> {
    alone(world, Policy::new().backoff(from_a_second()))
}

fn slow_start(world: &World) -> impl Client + use<> {
    alone(world, Policy::new().trials(Trials::default().slow_start()))
}

fn failover(world: &World) -> impl Client + use<> {
    alone(world, all_of_these())
}

fn checked_failover(world: &World) -> impl Client + use<> {
    checked(world, all_of_these(), check(world).interval(OFTEN))
}

fn failover_chain(world: &World) -> impl Client + use<> {
    with_standby(world, &HealthCache::new(all_of_these()))
}

fn checked_failover_chain(world: &World) -> impl Client + use<> {
    let cache = HealthCache::new(all_of_these());
    let chain = with_standby(world, &cache);
    probe(cache, check(world).interval(OFTEN));
    chain
}

/// Without jitter, so that every run gives the same numbers.
fn all_of_these() -> Policy {
    Policy::failover_after(SLOW).backoff(from_a_second())
}

fn from_a_second() -> Backoff {
    Backoff::exponential(Duration::from_secs(1), OPEN_FOR)
}

/// A check that calls the provider as callers do.
fn check(world: &World) -> Check {
    let client = world.checking_client().map_response(drop);
    Check::new(move || client.clone().oneshot(())).functional()
}

fn alone(world: &World, policy: Policy) -> impl Client + use<> {
    guarded(world, HealthCache::new(policy).provider("first"))
}

fn checked(world: &World, policy: Policy, check: Check) -> impl Client + use<> {
    let cache = HealthCache::new(policy);
    let client = guarded(world, cache.provider("first"));
    probe(cache, check);
    client
}

fn guarded(world: &World, provider: Provider) -> impl Client<Error = BoxError> + use<> {
    ServiceBuilder::new()
        .layer(HealthLayer::new(provider))
        .service(world.client(Source::Provider))
}

fn with_standby(world: &World, cache: &HealthCache) -> impl Client + use<> {
    FallbackChain::new()
        .guard(cache.provider("first"), world.client(Source::Provider))
        .guard(cache.provider("second"), world.client(Source::Standby))
}

/// Without jitter, so that every run gives the same numbers.
fn probe(cache: HealthCache, check: Check) {
    let probe = HealthProbe::new(&cache).jitter(0.0);
    tokio::spawn(async move {
        probe.check_with("first", check).run().await;
        drop(cache);
    });
}
