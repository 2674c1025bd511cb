//! Common cases of content and events: compressed bodies, requested pauses, and many tiny frames.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio_test::{assert_ready_ok, task};
use tower_health::http::{Content, PeekError, PeekLayer};

use super::{HOUR, SECOND, Script, call, compressed, data, peeked, send, timed, tokens, wait};

/// Both official clients of language models request `gzip`.
#[tokio::test(start_paused = true)]
async fn compressed_content_passes_at_once() {
    let stream = || Script::new([wait(HOUR), data("\u{1f}")]);
    let response = send(&tokens(), Request::default(), compressed(stream()));
    assert_ready_ok!(task::spawn(response).poll());
    let bytes = PeekLayer::first_content(|_| Content::broken("read"));
    let response = send(&bytes, Request::default(), compressed(stream()));
    assert_ready_ok!(task::spawn(response).poll());
}

#[tokio::test(start_paused = true)]
async fn compressed_content_is_held_back_until_its_first_frame() {
    let body = Script::new([wait(SECOND), data("\u{1f}")]);
    let (response, took) = timed(send(
        &PeekLayer::first_frame(),
        Request::default(),
        compressed(body),
    ))
    .await;
    assert!(response.is_ok());
    assert_eq!(took, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_is_the_calls_error() {
    let layer = PeekLayer::first_sse_event(|event| {
        Content::throttled(
            event.data.parse().map(Duration::from_secs).ok(),
            "slow down",
        )
    });
    for (named, retry_after) in [("7", Some(7 * SECOND)), ("soon", None)] {
        let body = Script::new([data(&format!("data: {named}\n\n"))]);
        let error = call(&layer, body).await.unwrap_err();
        let expected = PeekError::Throttled {
            retry_after,
            reason: "slow down".into(),
        };
        assert_eq!(peeked(&error), &expected);
        assert_eq!(error.to_string(), "body began with a throttle: slow down");
    }
}

/// Reading all bytes again at each frame would take minutes.
#[tokio::test(start_paused = true)]
async fn many_tiny_frames_take_time_in_proportion() {
    const FRAMES: usize = 200_000;
    let body = Script::new(vec![data("x"); FRAMES]);
    let layer = PeekLayer::first_content(|bytes| {
        if bytes.len() < FRAMES {
            Content::NotYet
        } else {
            Content::Begun
        }
    });
    let response = call(&layer.up_to(usize::MAX), body).await.unwrap();

    let mut body = response.into_body();
    for left in (1..=FRAMES as u64).rev() {
        assert_eq!(body.size_hint().lower(), left);
        body.frame().await.unwrap().unwrap();
    }
}
