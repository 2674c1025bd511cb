//! Calls to something that is not a tower service.

use std::{
    future::{pending, ready},
    io,
};

use tokio::time::{advance, timeout};
use tower::{ServiceExt, service_fn};
use tower_health::{
    BoxError, HealthLayer, Policy, Provider, State, Trip,
    error::{self, CircuitOpen},
};

use crate::rig::{Rig, secs};

async fn fail(provider: &Provider) -> BoxError {
    let error = io::Error::from(io::ErrorKind::ConnectionReset);
    let result = provider.call(ready(Err::<(), _>(error))).await;
    result.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn result_of_a_call_is_recorded_and_returned() {
    let rig = Rig::new(Policy::new());
    let error = fail(&rig.provider).await;
    assert_eq!(
        error::find::<io::Error>(&*error).unwrap().kind(),
        io::ErrorKind::ConnectionReset
    );
    let health = rig.health();
    assert_eq!(health.consecutive_failures, 1);
    assert_eq!(health.last_error.unwrap().label(), "reset");

    let served = rig.provider.call(async { Ok::<_, BoxError>(7) }).await;
    assert_eq!(served.unwrap(), 7);
    assert_eq!(rig.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn call_that_is_refused_is_not_run() {
    let rig = Rig::new(Policy::new());
    fail(&rig.provider).await;
    fail(&rig.provider).await;

    let mut has_run = false;
    let call = rig.provider.call(async {
        has_run = true;
        Ok::<_, BoxError>(())
    });
    let refused = call.await.unwrap_err();
    let refusal = error::find::<CircuitOpen>(&*refused).unwrap();
    assert_eq!(refusal.provider(), rig.id());
    assert!(!has_run);
}

#[tokio::test(start_paused = true)]
async fn call_is_admitted_when_it_is_first_polled() {
    let rig = Rig::new(Policy::new());
    let unpolled = rig.provider.call(ready(Ok::<_, BoxError>(())));
    rig.trip();
    assert!(error::is_refusal(&*unpolled.await.unwrap_err()));

    advance(secs(60)).await;
    let unpolled = rig.provider.call(ready(Ok::<_, BoxError>(())));
    drop(unpolled);
    assert!(rig.admit().unwrap().is_trial(), "it took no slot");
}

#[tokio::test(start_paused = true)]
async fn dropped_call_is_neutral_unless_the_policy_says_otherwise() {
    let rig = Rig::new(Policy::new());
    let trip = Trip::consecutive(1).cancelled_after(secs(1));
    for (policy, state) in [
        (Policy::new().trip(Trip::consecutive(1)), State::Closed),
        (Policy::new().trip(trip), State::Open),
    ] {
        rig.set_policy(policy);
        let call = rig.provider.call(pending::<Result<(), BoxError>>());
        timeout(secs(2), call).await.unwrap_err();
        assert_eq!(rig.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn trial_of_a_call_closes_the_breaker() {
    let rig = Rig::open(Policy::new());
    advance(secs(60)).await;
    let served = rig.provider.call(ready(Ok::<_, BoxError>(()))).await;
    served.unwrap();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn layer_of_the_same_provider_inside_a_call_judges_nothing() {
    let rig = Rig::new(Policy::new());
    let reset = || ready(Err::<(), _>(BoxError::from("reset")));
    let service = tower::ServiceBuilder::new()
        .layer(HealthLayer::new(rig.provider.clone()))
        .service(service_fn(move |()| reset()));
    let called = rig.provider.call(service.oneshot(())).await;
    called.unwrap_err();
    assert_eq!(rig.health().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_another_provider_inside_a_call_is_neutral() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(1)));
    let beneath = Rig::open(Policy::new());
    let nested = beneath.provider.call(ready(Ok::<_, BoxError>(())));
    let error = rig.provider.call(nested).await.unwrap_err();
    assert!(error::is_refusal(&*error));
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn call_can_be_spawned_and_outlives_its_handle() {
    let rig = Rig::new(Policy::new());
    let handle = rig.provider.clone();
    let call = handle.call(async { Ok::<_, BoxError>(7) });
    drop(handle);
    assert_eq!(tokio::spawn(call).await.unwrap().unwrap(), 7);
}
