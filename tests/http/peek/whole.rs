//! A response is held back until its body is complete.

use http::{HeaderValue, Request, Response};
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, Service};
use tower_health::{
    BoxError,
    http::{PeekBody, PeekError, PeekLayer},
};

use super::{
    HOUR, Hint, Peeked, Reset, SECOND, Script, Server, data, peeked, reset, send, text, timed, wait,
};

#[tokio::test(start_paused = true)]
async fn holds_a_response_back_until_its_end() {
    let body = Script::new([data("{"), wait(SECOND), data("}")]);
    let (response, took) = timed(json(&PeekLayer::whole(), body)).await;
    assert_eq!(took, SECOND);
    assert_eq!(text(response.unwrap()).await, "{}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_half_way_gives_the_call_its_error() {
    let body = Script::new([data("{"), wait(SECOND), reset()]);
    let error = json(&PeekLayer::whole(), body).await.unwrap_err();
    assert!(error.is::<Reset>());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_shorter_than_announced_is_an_error() {
    let mut body = Script::new([data("{"), data("}")]);
    body.hint = Hint::Exactly(3);
    let error = json(&PeekLayer::whole(), body).await.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::Incomplete);
    assert_eq!(error.to_string(), "body ended before its announced length");
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_whole() {
    let response = json(&PeekLayer::whole(), Script::new([])).await;
    assert_eq!(text(response.unwrap()).await, "");
}

#[tokio::test(start_paused = true)]
async fn what_is_longer_than_the_bound_is_let_through() {
    let layer = PeekLayer::whole().up_to(2);
    let body = Script::new([data("{"), data(" "), wait(HOUR), data("}")]);
    let response = assert_ready_ok!(task::spawn(json(&layer, body)).poll());
    assert_eq!(text(response).await, "{ }");
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_the_time_is_an_error() {
    let layer = PeekLayer::whole().within(SECOND);
    let body = Script::new([data("{"), wait(HOUR), data("}")]);
    let error = json(&layer, body).await.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::TimedOut(SECOND));
}

#[tokio::test(start_paused = true)]
async fn streams_pass_at_once() {
    for media_type in [
        "text/event-stream; charset=utf-8",
        "application/x-ndjson",
        "application/jsonl",
        "application/vnd.amazon.eventstream",
    ] {
        let body = Script::new([wait(HOUR), data("data: Hello\n\n")]);
        let response = of_type(&PeekLayer::whole(), media_type, body);
        assert_ready_ok!(task::spawn(response).poll());
    }
}

fn json<L>(layer: &L, body: Script) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    of_type(layer, "application/json", body)
}

fn of_type<L>(
    layer: &L,
    media_type: &'static str,
    body: Script,
) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    let mut response = Response::new(body);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert("content-type", media_type);
    send(layer, Request::default(), response)
}
