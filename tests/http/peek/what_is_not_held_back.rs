//! Responses that are passed on at once.

use std::sync::atomic::Ordering;

use http::{Method, Request, Response};
use tokio_test::{assert_ready_ok, task};
use tower_health::http::PeekLayer;

use super::{HOUR, Script, data, event_stream, send, text, tokens, wait};

#[tokio::test(start_paused = true)]
async fn whatever_is_no_success() {
    for status in 100..=999 {
        let mut response = broken();
        *response.status_mut() = status.try_into().unwrap();
        let result = send(&tokens(), Request::default(), response).await;
        let is_peeked = (200..=299).contains(&status) && ![204, 205].contains(&status);
        assert_eq!(result.is_err(), is_peeked, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_method_that_has_no_content() {
    for (method, is_peeked) in [
        (Method::HEAD, false),
        (Method::CONNECT, false),
        (Method::GET, true),
        (Method::POST, true),
    ] {
        let request = Request::builder().method(&method).body(()).unwrap();
        let result = send(&tokens(), request, broken()).await;
        assert_eq!(result.is_err(), is_peeked, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn its_body_is_not_touched() {
    let body = Script::new([wait(HOUR), data("not found")]);
    let left = body.left();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::NOT_FOUND;

    let peeking = send(&PeekLayer::first_frame(), Request::default(), response);
    let response = assert_ready_ok!(task::spawn(peeking).poll());

    assert_eq!(left.load(Ordering::Relaxed), 2);
    assert_eq!(text(response).await, "not found");
}

fn broken() -> Response<Script> {
    event_stream(Script::new([data("event: error\ndata: overloaded\n\n")]))
}
