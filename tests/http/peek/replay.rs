//! Bytes that were held back are replayed unchanged.

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Body;
use tower_health::http::{Content, PeekLayer};

use super::{Hint, Script, Step, call, data, send};

#[tokio::test(start_paused = true)]
async fn the_head_is_handed_on_unchanged() {
    let mut response = Response::new(Script::new([data("Hello")]));
    *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    let id = HeaderValue::from_static("7");
    response.headers_mut().insert("x-request-id", id);
    response.extensions_mut().insert("of a layer below");

    let response = send(&PeekLayer::first_frame(), Request::default(), response).await;

    let response = response.unwrap();
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["x-request-id"], "7");
    assert_eq!(response.extensions().get(), Some(&"of a layer below"));
}

#[tokio::test(start_paused = true)]
async fn data_is_not_copied() {
    let pieces = ["ping", "Hello", "world"].map(|text| Bytes::from(text.to_owned()));
    let layer = PeekLayer::first_content(|bytes| {
        if bytes.len() > 4 {
            Content::Begun
        } else {
            Content::NotYet
        }
    });
    let body = Script::new(pieces.clone().map(Step::Data));
    let mut body = call(&layer, body).await.unwrap().into_body();

    for piece in pieces {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap().as_ptr(), piece.as_ptr());
    }
}

#[tokio::test(start_paused = true)]
async fn size_and_end_are_those_of_the_whole() {
    let layer = PeekLayer::first_content(|bytes| {
        if bytes.len() > 6 {
            Content::Begun
        } else {
            Content::NotYet
        }
    });
    let body = Script::new([data("Hello"), data("world"), data("!")]).sized();

    let mut body = call(&layer, body).await.unwrap().into_body();

    for left in [11, 6, 1] {
        assert_eq!(body.size_hint().exact(), Some(left));
        assert!(!body.is_end_stream());
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_to_its_last_frame_has_not_ended_before_that_is_replayed() {
    let body = Script::new([data("Hello")]).sized();
    let mut body = call(&PeekLayer::first_frame(), body)
        .await
        .unwrap()
        .into_body();
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_size_stays_unknown() {
    let body = Script::new([data("Hello"), data("world")]);
    let response = call(&PeekLayer::first_frame(), body).await.unwrap();
    let hint = response.body().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (5, None));
}

#[tokio::test(start_paused = true)]
async fn a_size_that_is_too_large_to_be_known_is_unknown() {
    let mut body = Script::new([data("Hello"), data("world")]);
    body.hint = Hint::Exactly(u64::MAX);
    let response = call(&PeekLayer::first_frame(), body).await.unwrap();
    let hint = response.body().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (u64::MAX, None));
}
