//! Readiness, cancellation and errors of the service.

use std::{future::ready, sync::Arc};

use http::{Request, Response};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::http::PeekLayer;
use tower_test::mock;

use super::{Reset, SECOND, Script, call, data, tokens, wait};

#[tokio::test(start_paused = true)]
async fn readiness_and_its_error_are_the_inner_services() {
    let layer = PeekLayer::first_frame();
    let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Response<Script>, _>(layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());

    handle.send_error(Reset);
    let error = assert_ready_err!(service.poll_ready());
    assert!(error.is::<Reset>());
}

#[tokio::test(start_paused = true)]
async fn the_services_error_is_the_calls_own() {
    let refusing = service_fn(|_: Request<()>| ready(Err::<Response<Script>, _>(Reset)));
    let service = PeekLayer::first_frame().layer(refusing);
    let error = service.oneshot(Request::default()).await.unwrap_err();
    assert!(error.is::<Reset>());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_the_response() {
    let body = Script::new([data(": ping\n\n"), wait(SECOND), data("data: Hello\n\n")]);
    let left = body.left();

    let mut peeking = task::spawn(call(&tokens(), body));
    assert_pending!(peeking.poll());
    assert_eq!(Arc::strong_count(&left), 2);
    drop(peeking);

    assert_eq!(Arc::strong_count(&left), 1);
}
