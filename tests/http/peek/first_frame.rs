//! A response is held back until its first data.

use std::future::ready;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::http::PeekLayer;

use super::{Reset, SECOND, Script, Step, call, data, frames, reset, text, timed, trailers, wait};

#[tokio::test(start_paused = true)]
async fn holds_a_response_back_until_the_first_data() {
    let body = Script::new([wait(3 * SECOND), data("Hello"), wait(SECOND), data("world")]);

    let (result, took) = timed(call(&PeekLayer::first_frame(), body)).await;

    assert_eq!(took, 3 * SECOND);
    assert_eq!(text(result.unwrap()).await, "Helloworld");
}

#[tokio::test(start_paused = true)]
async fn holds_nothing_back_of_a_body_that_has_begun() {
    let peeking = call(&PeekLayer::first_frame(), Script::new([data("Hello")]));
    let response = assert_ready_ok!(task::spawn(peeking).poll());
    assert_eq!(text(response).await, "Hello");
}

#[tokio::test(start_paused = true)]
async fn lets_an_empty_body_through() {
    let response = call(&PeekLayer::first_frame(), Script::new([wait(SECOND)])).await;

    let body = response.unwrap().into_body();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert_eq!(frames(body).await, []);
}

#[tokio::test(start_paused = true)]
async fn lets_trailers_without_data_through() {
    let body = Script::new([wait(SECOND), trailers("grpc-status", "0")]);
    let response = call(&PeekLayer::first_frame(), body).await.unwrap();
    let expected = [trailers("grpc-status", "0")];
    assert_eq!(frames(response.into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_frame_without_data_is_no_beginning() {
    let body = Script::new([data(""), wait(SECOND), data("Hello")]);

    let (result, took) = timed(call(&PeekLayer::first_frame(), body)).await;

    assert_eq!(took, SECOND);
    let expected = [data(""), data("Hello")];
    assert_eq!(frames(result.unwrap().into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_error_before_it_is_the_calls_own() {
    for preamble in [vec![], vec![data("")], vec![wait(SECOND)]] {
        let body = Script::new(preamble.into_iter().chain([reset()]));
        let error = call(&PeekLayer::first_frame(), body).await.unwrap_err();
        assert!(error.is::<Reset>(), "unchanged in its box: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_it_is_the_bodys() {
    let body = Script::new([data("Hello"), reset()]);
    let response = call(&PeekLayer::first_frame(), body).await.unwrap();

    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(Step::from(first), data("Hello"));
    body.frame().await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn takes_data_of_any_type() {
    let service = service_fn(|_: Request<()>| {
        let rope = Bytes::from("Hello, ").chain(Bytes::from("world"));
        ready(Ok::<_, Reset>(Response::new(Full::new(rope))))
    });

    let service = PeekLayer::first_frame().layer(service);
    let response = service.oneshot(Request::default()).await.unwrap();

    assert_eq!(response.body().size_hint().exact(), Some(12));
    assert_eq!(text(response).await, "Hello, world");
}
