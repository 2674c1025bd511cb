//! A response is held back until a closure accepts an event.

use http::{HeaderValue, Request, Response};
use tower_health::http::{Content, PeekError, PeekLayer};

use super::{
    HOUR, Log, SECOND, Script, call, calls_split_everywhere, data, frames, peeked, send, text,
    timed, tokens, trailers, wait,
};

/// Scenario 37.
#[tokio::test(start_paused = true)]
async fn an_error_as_first_event_is_the_calls_error() {
    let body = Script::new([data("event: error\ndata: overloaded\n\n"), wait(HOUR)]);
    let error = call(&tokens(), body).await.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
}

/// Scenario 37.
#[tokio::test(start_paused = true)]
async fn an_error_after_empty_deltas_is_the_calls_error() {
    let body = Script::new([
        data("data: \n\n"),
        wait(SECOND),
        data("data:\n\nevent: error\n"),
        wait(SECOND),
        data("data: overloaded\n\ndata: Hello\n\n"),
    ]);
    let (result, took) = timed(call(&tokens(), body)).await;
    let error = result.unwrap_err();
    assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
    assert_eq!(took, 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_the_first_token_is_the_callers_to_read() {
    let stream = "data: Hello\n\nevent: error\ndata: overloaded\n\n";
    let response = call(&tokens(), Script::new([data(stream)])).await;
    assert_eq!(text(response.unwrap()).await, stream);
}

#[tokio::test(start_paused = true)]
async fn holds_back_comments_and_empty_deltas_and_replays_them() {
    let body = Script::new([
        data(": ping\n\n"),
        wait(SECOND),
        data("data:\n\n"),
        wait(SECOND),
        data("data: Hello\n"),
        wait(SECOND),
        data("\n"),
        data("data: world\n\n"),
        trailers("x-cost", "2"),
    ]);

    let (result, took) = timed(call(&tokens(), body)).await;

    assert_eq!(took, 3 * SECOND);
    let expected = [
        data(": ping\n\n"),
        data("data:\n\n"),
        data("data: Hello\n"),
        data("\n"),
        data("data: world\n\n"),
        trailers("x-cost", "2"),
    ];
    assert_eq!(frames(result.unwrap().into_body()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_before_its_first_token_is_an_error() {
    for stream in ["", ": ping\n\n", "data:\n\n", "data: no blank line\n"] {
        let error = call(&tokens(), Script::new([data(stream)])).await;
        assert_eq!(peeked(&error.unwrap_err()), &PeekError::Ended, "{stream:?}");
    }
}

/// Splits at every position, even within characters, line ends and the byte order mark.
#[tokio::test(start_paused = true)]
async fn how_frames_are_split_changes_neither_events_nor_data() {
    const STREAM: &str = "\u{FEFF}: ping\r\n\r\nid: 7\r\nevent: délta\r\ndata:\r\n\r\n\
        retry: 5\rdata: zwei\rdata: Zeilen €\r\rdata: Hello 🦀\n\ndata: unseen\n\n";
    let seen = Log::default();
    let log = seen.clone();
    let layer = PeekLayer::first_sse_event(move |event| {
        log.push(format!("{}|{}|{}", event.event, event.data, event.id).as_bytes());
        if event.data.starts_with("Hello") {
            Content::Begun
        } else {
            Content::NotYet
        }
    });

    for (split, response) in calls_split_everywhere(&layer, STREAM.as_bytes()).await {
        assert_eq!(text(response.unwrap()).await, STREAM, "{split:?}");
        let expected = ["délta||7", "message|zwei\nZeilen €|7", "message|Hello 🦀|7"];
        let events: Vec<_> = seen.0.lock().unwrap().drain(..expected.len()).collect();
        assert_eq!(events, expected, "{split:?}");
    }
    assert_eq!(seen.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_says_that_it_is_no_event_stream_passes_at_once() {
    for (content_type, is_peeked) in [
        (None, false),
        (Some("text/event-stream"), true),
        (Some("Text/Event-Stream ; charset=utf-8"), true),
        (Some("application/json"), false),
        (Some("text/event-streams"), false),
        (Some(""), false),
    ] {
        let mut response = Response::new(Script::new([data("{}")]));
        if let Some(content_type) = content_type {
            let content_type = HeaderValue::from_static(content_type);
            response.headers_mut().insert("content-type", content_type);
        }
        let result = send(&tokens(), Request::default(), response).await;
        assert_eq!(result.is_err(), is_peeked, "{content_type:?}");
    }
}
