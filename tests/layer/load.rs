//! A balancer avoids the endpoints whose breakers refuse.

use std::{
    future::{Ready, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{advance, sleep};
use tower::{
    Layer, Service, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Constant, Load, PeakEwma},
    service_fn,
};
use tower_health::{BoxError, Health, HealthCache, HealthLayer, HealthMetric, Provider, State};

const OPEN_WINDOW: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The weight that the balancer prefers, except for its health.
const FAVOURITE: u32 = 0;
const RESERVE: u32 = 1;

// The load of a service.

#[tokio::test(start_paused = true)]
async fn well_one_weighs_what_the_wrapped_service_weighs() {
    let (light, heavy) = (weighing(1), weighing(2));
    assert_eq!(light.load(), HealthMetric::Admitting(1));
    assert!(light.load() < heavy.load());
}

#[tokio::test(start_paused = true)]
async fn one_that_refuses_weighs_more_than_any_that_does_not() {
    let (lightest, heaviest) = (weighing(u32::MIN), weighing(u32::MAX));
    trip(lightest.provider());
    assert_eq!(lightest.load(), HealthMetric::Refusing);
    assert!(lightest.load() > heaviest.load());
}

#[tokio::test(start_paused = true)]
async fn half_open_one_refuses_only_while_its_trial_is_out() {
    let service = weighing(1);
    trip(service.provider());
    advance(OPEN_WINDOW).await;
    assert_eq!(service.load(), HealthMetric::Admitting(1));

    let trial = service.provider().admit().unwrap();
    assert_eq!(service.load(), HealthMetric::Refusing);
    trial.success();
    assert_eq!(service.load(), HealthMetric::Admitting(1));
}

/// Without the breaker's state, a balancer would prefer the endpoint that refuses.
#[tokio::test(start_paused = true)]
async fn latency_alone_would_prefer_the_one_that_refuses() {
    let (well, sick) = (provider(), provider());
    trip(&sick);
    let guarded = |provider: &Provider| HealthLayer::new(provider.clone()).layer(slow());

    let (mut of_well, mut of_sick) = (timed(guarded(&well)), timed(guarded(&sick)));
    of_well.ready().await.unwrap().call(()).await.unwrap();
    of_sick.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(of_well.load() > of_sick.load());

    let guards_timed = |provider| HealthLayer::new(provider).layer(timed(slow()));
    assert!(guards_timed(well).load() < guards_timed(sick).load());
}

// The choice of a balancer.

#[tokio::test(start_paused = true)]
async fn dead_endpoint_gets_the_calls_that_trip_and_its_trials_and_no_others() {
    let (dead, well) = (Backend::default(), Backend::default());
    dead.is_down.store(true, SeqCst);
    let mut balancer = balance([
        endpoint(provider(), dead.clone(), FAVOURITE),
        endpoint(provider(), well.clone(), RESERVE),
    ]);

    for attempts in 1..=2 {
        call(&mut balancer).await.unwrap_err();
        assert_eq!(dead.calls(), attempts);
    }
    for windows in 1..=3 {
        for _ in 0..100 {
            call(&mut balancer).await.unwrap();
        }
        assert_eq!(well.calls(), 100 * windows);

        advance(OPEN_WINDOW).await;
        call(&mut balancer).await.unwrap_err();
        assert_eq!(dead.calls(), 2 + windows);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_is_back_gets_its_calls_back() {
    let (back, reserve, provider) = (Backend::default(), Backend::default(), provider());
    let mut balancer = balance([
        endpoint(provider.clone(), back.clone(), FAVOURITE),
        endpoint(self::provider(), reserve.clone(), RESERVE),
    ]);
    trip(&provider);
    call(&mut balancer).await.unwrap();
    assert_eq!((back.calls(), reserve.calls()), (0, 1));

    advance(OPEN_WINDOW).await;
    for _ in 0..100 {
        call(&mut balancer).await.unwrap();
    }
    assert_eq!((back.calls(), reserve.calls()), (100, 1));
    assert_eq!(provider.health().state, State::Closed);
}

/// Rule 4; scenario 42.
#[tokio::test(start_paused = true)]
async fn others_are_served_elsewhere_while_a_trial_is_out() {
    let (tried, well, provider) = (Backend::default(), Backend::default(), provider());
    let mut balancer = balance([
        endpoint(provider.clone(), tried.clone(), FAVOURITE),
        endpoint(self::provider(), well.clone(), RESERVE),
    ]);
    trip(&provider);
    advance(OPEN_WINDOW).await;

    let trial = balancer.ready().await.unwrap().call("trial");
    for _ in 0..79 {
        call(&mut balancer).await.unwrap();
    }
    assert_eq!((tried.calls(), well.calls()), (1, 79));

    trial.await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

// Helpers.

type Endpoint<S> = Health<Constant<S, u32>>;

fn endpoint<S>(provider: Provider, client: S, weight: u32) -> Endpoint<S> {
    HealthLayer::new(provider).layer(Constant::new(client, weight))
}

fn weighing(weight: u32) -> Endpoint<Backend> {
    endpoint(provider(), Backend::default(), weight)
}

type Balancer = Balance<ServiceList<[Endpoint<Backend>; 2]>, &'static str>;

fn balance(endpoints: [Endpoint<Backend>; 2]) -> Balancer {
    Balance::new(ServiceList::new(endpoints))
}

async fn call(balancer: &mut Balancer) -> Result<(), BoxError> {
    balancer.ready().await?.call("hi").await
}

fn provider() -> Provider {
    HealthCache::default().provider("search")
}

fn trip(provider: &Provider) {
    for _ in 0..2 {
        provider.mark_unhealthy("connection refused");
    }
}

/// Takes a hundred times as long as [`timed`] supposes.
fn slow() -> impl Service<(), Response = (), Error = io::Error> {
    service_fn(async |()| {
        sleep(100 * MILLISECOND).await;
        Ok(())
    })
}

fn timed<S>(service: S) -> PeakEwma<S> {
    PeakEwma::new(service, MILLISECOND, 10e9, CompleteOnResponse::default())
}

/// A client whose provider can be down.
#[derive(Clone, Default)]
struct Backend {
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Backend {
    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

impl Service<&'static str> for Backend {
    type Response = ();
    type Error = io::Error;
    type Future = Ready<io::Result<()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        ready(if self.is_down.load(SeqCst) {
            Err(io::Error::other("connection refused"))
        } else {
            Ok(())
        })
    }
}
