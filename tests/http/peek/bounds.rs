//! Limits on the time and the bytes for which a response is held back.

use std::{sync::atomic::Ordering, time::Duration};

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
use tower_health::http::{Content, FirstContent, PeekError, PeekLayer};

use super::{
    HOUR, JudgeBytes, MILLISECOND, Reset, SECOND, Script, call, data, frames, peeked, text, timed,
    tokens, wait,
};

/// Scenario 38.
#[tokio::test(start_paused = true)]
async fn comments_do_not_put_off_the_end_of_the_time() {
    let layer = tokens().within(5 * SECOND);

    let (result, took) = timed(call(&layer, slow_stream())).await;

    let error = result.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::TimedOut(5 * SECOND));
    assert_eq!(error.to_string(), "body did not begin within 5s");
    assert_eq!(took, 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_first_token_in_time_is_let_through_with_all_before_it() {
    let layer = tokens().within(10_001 * MILLISECOND);

    let (result, took) = timed(call(&layer, slow_stream())).await;

    assert_eq!(took, 10 * SECOND);
    let stream = text(result.unwrap()).await;
    assert_eq!(stream, ": ping\n\n".repeat(40) + "data: Hello\n\n");
}

#[tokio::test(start_paused = true)]
async fn the_time_is_30_seconds_from_the_head_on() {
    let slow_head = |body: &Script| {
        let response = Response::new(body.clone());
        PeekLayer::first_frame().layer(service_fn(move |_: Request<()>| {
            let response = response.clone();
            async move {
                sleep(HOUR).await;
                Ok::<_, Reset>(response)
            }
        }))
    };
    let in_time = Script::new([wait(29_999 * MILLISECOND), data("Hello")]);
    let response = slow_head(&in_time).oneshot(Request::default()).await;
    assert_eq!(text(response.unwrap()).await, "Hello");

    let too_late = Script::new([wait(30_001 * MILLISECOND), data("Hello")]);
    let call = slow_head(&too_late).oneshot(Request::default());
    let (result, took) = timed(call).await;
    let error = result.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::TimedOut(30 * SECOND));
    assert_eq!(took, HOUR + 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_begun_has_all_the_time_it_wants() {
    let body = Script::new([wait(SECOND), data("Hello"), wait(HOUR), data("world")]);
    let response = call(&PeekLayer::first_frame(), body).await.unwrap();
    assert_eq!(text(response).await, "Helloworld");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_bounds_the_head_and_the_beginning_together() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(10 * SECOND))
        .layer(PeekLayer::first_frame().within(8 * SECOND))
        .service_fn(|_: Request<()>| async {
            sleep(6 * SECOND).await;
            let body = Script::new([wait(6 * SECOND), data("Hello")]);
            Ok::<_, Reset>(Response::new(body))
        });
    let (result, took) = timed(service.oneshot(Request::default())).await;
    assert!(result.unwrap_err().is::<tower::timeout::error::Elapsed>());
    assert_eq!(took, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_bounds_the_head_alone() {
    let service = ServiceBuilder::new()
        .layer(PeekLayer::first_frame().within(8 * SECOND))
        .layer(TimeoutLayer::new(10 * SECOND))
        .service_fn(|_: Request<()>| async {
            sleep(6 * SECOND).await;
            let body = Script::new([wait(6 * SECOND), data("Hello")]);
            Ok::<_, Reset>(Response::new(body))
        });
    let (result, took) = timed(service.oneshot(Request::default())).await;
    assert_eq!(text(result.unwrap()).await, "Hello");
    assert_eq!(took, 12 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_is_longer_than_the_bound_is_let_through_whole() {
    let layer = undecided().up_to(10);
    let body = Script::new([data("12345"), data("6789"), data("0ab"), data("c")]);
    let left = body.left();

    let response = call(&layer, body).await.unwrap();

    assert_eq!(left.load(Ordering::Relaxed), 1, "no more is read than that");
    assert_eq!(text(response).await, "1234567890abc");
}

#[tokio::test(start_paused = true)]
async fn the_bound_is_64_kib() {
    let kib = "x".repeat(1024);
    let body = Script::new(vec![data(&kib); 100]);
    let left = body.left();

    let response = call(&undecided(), body).await.unwrap();

    assert_eq!(left.load(Ordering::Relaxed), 36);
    assert_eq!(text(response).await.len(), 100 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_on_the_frame_that_reaches_the_bound_counts() {
    let body = Script::new([data("event: error\ndata: overloaded\n\n")]);
    let error = call(&tokens().up_to(1), body).await.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
}

#[tokio::test(start_paused = true)]
async fn frames_without_data_are_held_up_to_the_bound_too() {
    let body = Script::new(vec![data(""); 100]);
    let left = body.left();

    let response = call(&undecided().up_to(10), body).await.unwrap();

    assert_eq!(left.load(Ordering::Relaxed), 90);
    assert_eq!(frames(response.into_body()).await.len(), 100);
}

#[test]
#[should_panic(expected = "`PeekLayer::within` must be longer than zero, got 0ns")]
fn no_time_is_refused() {
    let _ = PeekLayer::first_frame().within(Duration::ZERO);
}

#[test]
#[should_panic(expected = "`PeekLayer::up_to` must be at least 1, got 0")]
fn no_bytes_are_refused() {
    let _ = PeekLayer::first_frame().up_to(0);
}

/// A comment every 250 ms, the first token after 10 s.
fn slow_stream() -> Script {
    let pings = (0..40).flat_map(|_| [wait(250 * MILLISECOND), data(": ping\n\n")]);
    Script::new(pings.chain([data("data: Hello\n\n")]))
}

fn undecided() -> PeekLayer<FirstContent<JudgeBytes>> {
    PeekLayer::first_content(|_| Content::NotYet)
}
