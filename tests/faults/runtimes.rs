use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::yield_now,
};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    Backoff, BoxError, FallbackChain, Health, HealthCache, HealthLayer, HealthProbe, Override,
    Policy, State, Trials,
};
use tower_test::mock::Spawn;

use crate::{
    Readiness, answer, give_up, layer,
    rig::{MOMENT, Rig, received, secs},
};

// Shutdown.

#[test]
fn runtime_that_shuts_down_in_mid_call_frees_the_slot() {
    shut_down_during(|rig, started| layer(rig).layer(hangs(started)).oneshot(()));
}

#[test]
fn runtime_that_shuts_down_in_mid_chain_frees_the_slot() {
    shut_down_during(|rig, started| {
        let service = layer(rig).layer(hangs(started));
        let chain = FallbackChain::new().entry(rig.provider.clone(), service);
        chain.deadline(secs(60)).oneshot(())
    });
}

#[cfg(feature = "http")]
#[test]
fn runtime_that_shuts_down_in_mid_body_frees_the_slot() {
    use http::Response;
    use http_body_util::{BodyExt, channel::Channel};
    use std::{future::ready, io};
    use tower_health::http::StatusClassifier;

    shut_down_during(|rig, started| {
        let (upstream, body) = Channel::<&[u8], io::Error>::new(1);
        let mut response = Some(Response::new(body));
        let answers = service_fn(move |()| ready(response.take().ok_or("one call")));
        let classifier = StatusClassifier::new().idle_timeout(secs(60));
        let call = layer(rig).classify(classifier).layer(answers).oneshot(());
        let mut body = assert_ready_ok!(task::spawn(call).poll()).into_body();
        async move {
            started.send(()).unwrap();
            drop(body.frame().await);
            drop(upstream);
        }
    });
}

#[test]
fn runtime_that_shuts_down_stops_its_probe() {
    let runtime = runtime();
    let cache = HealthCache::default();
    let probe = runtime.block_on(async {
        let probe = HealthProbe::new(&cache).check("a", pending::<()>).spawn();
        yield_now().await;
        probe
    });
    drop(runtime);
    assert_ready!(task::spawn(probe.stop()).poll());
    assert!(cache.is_healthy("a"));
}

/// The override's timer panics, as any tokio timer of a runtime that is gone.
#[test]
fn service_that_waited_in_a_runtime_that_is_gone_panics_once_and_no_more() {
    let rig = Rig::new(Policy::new());
    let mut service = never_ready(&rig);
    rig.force(Override::Closed, secs(60), "trust me");
    runtime().block_on(async { assert_pending!(service.poll_ready()) });

    let caught = catch_unwind(AssertUnwindSafe(|| service.poll_ready()));
    assert!(caught.is_err());
    runtime().block_on(async { assert_pending!(service.poll_ready()) });
}

/// Runs `start` on a half-open provider, and shuts its runtime down once the call is in flight.
#[track_caller]
fn shut_down_during<F>(start: impl Fn(&Rig, Started) -> F)
where
    F: Future<Output: Send> + Send + 'static,
{
    let on_many_threads = Builder::new_multi_thread().enable_time().build().unwrap();
    for runtime in [runtime(), on_many_threads] {
        let rig = Rig::open(hasty());
        let (started, mut is_under_way) = mpsc::unbounded_channel();
        runtime.spawn(start(&rig, started));
        runtime.block_on(is_under_way.recv()).unwrap();
        assert!(rig.admit().is_err(), "the only slot is taken");

        drop(runtime);

        rig.trial().success();
        assert_eq!(rig.state(), State::Closed);
    }
}

type Started = mpsc::UnboundedSender<()>;

fn hangs(
    started: Started,
) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send {
    service_fn(move |()| {
        started.send(()).unwrap();
        pending()
    })
}

/// A policy with windows and pauses so short that no test waits for the clock.
fn hasty() -> Policy {
    Policy::new()
        .backoff(Backoff::constant(MOMENT))
        .trials(Trials::new(1).pause(MOMENT))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

// No runtime.

#[test]
fn calls_need_no_runtime() {
    let rig = Rig::open(hasty());
    let mut transitions = rig.cache.subscribe();
    let layer = layer(&rig);
    let keyed = HealthLayer::keyed(&rig.cache, |(): &()| Rig::ID);
    let chain =
        |result| FallbackChain::new().entry(rig.provider.clone(), layer.layer(answer(result)));

    assert_ready_err!(task::spawn(layer.layer(answer(Err("down"))).oneshot(())).poll());
    assert_ready_ok!(task::spawn(keyed.layer(answer(Ok(()))).oneshot(())).poll());
    assert_ready_err!(task::spawn(chain(Err("down")).oneshot(())).poll());
    assert_ready_ok!(task::spawn(chain(Ok(())).oneshot(())).poll());
    assert!(!received(&mut transitions).is_empty());
    assert!(rig.cache.snapshot().providers[0].healthy);
}

/// Without a runtime, the service cannot wait for the end of the override, only for the inner service.
#[test]
fn service_that_waits_under_an_override_needs_no_runtime() {
    let rig = Rig::new(Policy::new());
    let mut service = never_ready(&rig);
    rig.force(Override::Closed, secs(60), "trust me");
    assert_pending!(service.poll_ready());

    rig.force(Override::Open, secs(60), "maintenance");
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
}

type NeverReady = Readiness<fn() -> Poll<Result<(), BoxError>>>;

fn never_ready(rig: &Rig) -> Spawn<Health<NeverReady>> {
    let inner: NeverReady = Readiness(|| Poll::Pending);
    Spawn::new(layer(rig).layer(inner))
}

#[test]
fn chain_that_needs_a_timer_panics_without_a_runtime_and_costs_no_more_than_its_call() {
    let rig = Rig::open(hasty());
    let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
    let chain = FallbackChain::new().entry(rig.provider.clone(), layer(&rig).layer(hangs));
    let call = AssertUnwindSafe(|| give_up(chain.deadline(secs(60)), ()));
    let said = catch_unwind(call)
        .unwrap_err()
        .downcast::<String>()
        .unwrap();
    assert!(said.contains("no reactor running"), "{said}");
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}
