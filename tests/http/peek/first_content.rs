//! A response is held back until a closure finds content in its bytes.

use std::future::ready;

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::http::{Content, FirstContent, PeekError, PeekLayer};

use super::{
    JudgeBytes, Log, Reset, SECOND, Script, call, calls_split_everywhere, data, peeked, reset,
    text, trailers, wait,
};

#[tokio::test(start_paused = true)]
async fn the_closure_sees_all_bytes_so_far_whenever_there_are_more() {
    let seen = Log::default();
    let log = seen.clone();
    let layer = PeekLayer::first_content(move |bytes| {
        log.push(bytes);
        if bytes.ends_with(b"!") {
            Content::Begun
        } else {
            Content::NotYet
        }
    });
    let body = Script::new([
        data(""),
        data("He"),
        wait(SECOND),
        data("ll"),
        data(""),
        data("o!"),
        data("unseen"),
    ]);

    let response = call(&layer, body).await.unwrap();

    assert_eq!(seen.take(), ["He", "Hell", "Hello!"]);
    assert_eq!(text(response).await, "Hello!unseen");
}

#[tokio::test(start_paused = true)]
async fn each_call_is_watched_from_its_own_beginning() {
    let seen = Log::default();
    let log = seen.clone();
    let layer = PeekLayer::first_content(move |bytes| {
        log.push(bytes);
        Content::NotYet
    });
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Reset>(Response::new(Script::new([
            data("a"),
            data("b"),
        ]))))
    }));

    for _ in 0..2 {
        let service = service.ready().await.unwrap();
        service.call(Request::default()).await.unwrap_err();
    }

    assert_eq!(seen.take(), ["a", "ab", "a", "ab"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_beginning_is_an_error_with_its_reason() {
    let body = Script::new([data("{"), data(r#""error": "overloaded"}"#)]);
    let error = call(&json(), body).await.unwrap_err();

    assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
    assert_eq!(error.to_string(), "body began with an error: overloaded");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_before_its_content_is_an_error() {
    for steps in [
        vec![],
        vec![data("{")],
        vec![data("{"), trailers("grpc-status", "0")],
    ] {
        let error = call(&json(), Script::new(steps)).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Ended);
        assert_eq!(error.to_string(), "body ended without content");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_before_its_content_gives_the_call_its_error() {
    let body = Script::new([data("{"), reset()]);
    let error = call(&json(), body).await.unwrap_err();
    assert!(error.is::<Reset>());
}

#[tokio::test(start_paused = true)]
async fn how_frames_are_split_changes_neither_verdict_nor_data() {
    let stream = br#"{"answer": "42"}"#;
    for (split, response) in calls_split_everywhere(&json(), stream).await {
        let body = response.unwrap().into_body();
        assert_eq!(
            body.collect().await.unwrap().to_bytes(),
            stream[..],
            "{split:?}"
        );
    }
}

/// Content begins with a name. The name "error" is a failure.
fn json() -> PeekLayer<FirstContent<JudgeBytes>> {
    fn judge(bytes: &[u8]) -> Content {
        let text = std::str::from_utf8(bytes).unwrap();
        match text.split('"').collect::<Vec<_>>()[..] {
            [_, "error", _, reason, _] => Content::broken(reason.to_owned()),
            [_, name, _, ..] if name != "error" => Content::Begun,
            _ => Content::NotYet,
        }
    }
    PeekLayer::first_content(judge)
}
