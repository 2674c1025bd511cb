//! Judges for the APIs of language models.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    BoxError, HealthCache, HealthLayer, Outcome, Reason, State,
    http::{
        Content, ErrorVerdict, ReadErrorsLayer, StreamVerdict,
        llm::{self, AccountClassifier, ApiError, EventBody},
        sse::Parser,
    },
};

const ROLE: &str = r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
const HELLO: &str = r#"data: {"choices":[{"delta":{"content":"Hello"}}]}"#;
const DONE: &str = "data: [DONE]";

/// The verdict of `llm::first_token` on an event.
fn first(event: &str) -> Content {
    let text = format!("{event}\n\n");
    let mut parser = Parser::new();
    llm::first_token(&parser.read(&mut text.as_bytes()).expect("an event"))
}

/// The verdict of `llm::to_last_event` on an event.
fn later(event: &str) -> StreamVerdict {
    let text = format!("{event}\n\n");
    let mut parser = Parser::new();
    llm::to_last_event(&parser.read(&mut text.as_bytes()).expect("an event"))
}

#[test]
fn preamble_is_no_token() {
    for preamble in [
        "data",
        ROLE,
        r#"data: {"choices":[]}"#,
        r#"data: {"choices":[{"text":"","finish_reason":null}]}"#,
        r#"data: {"choices":[{"delta":{"content":null,"tool_calls":[]}}]}"#,
        "event: message_start\ndata: {\"type\":\"message_start\"}",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\"}",
        "event: ping\ndata: {\"type\":\"ping\"}",
    ] {
        assert_eq!(first(preamble), Content::NotYet, "{preamble}");
    }
}

#[test]
fn token_is_text_a_tool_call_or_the_end_of_a_turn() {
    for token in [
        HELLO,
        r#"data: {"choices":[{"text":"Hello"}]}"#,
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
        r#"data: {"choices":[{"delta":{"reasoning_content":"Hm"}}]}"#,
        r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        r#"data: {"choices":[{"delta":{}},{"delta":{"content":"Hello"}}]}"#,
        r#"data: {"choices":[{"delta":{"content":"\"error\": {}"}}],"error":null}"#,
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"Hello\"}}",
        "data: of another format",
        DONE,
    ] {
        assert_eq!(first(token), Content::Begun, "{token}");
    }
}

#[test]
fn error_event_is_an_error_before_and_after_the_first_token() {
    for (event, text) in [
        (
            r#"data: {"error":{"message":"Server error","type":"server_error","code":null}}"#,
            "server_error: Server error",
        ),
        (
            r#"data: {"error":"overloaded"}"#,
            "provider error: overloaded",
        ),
        (r#"data: {"error":{"code":500}}"#, "provider error"),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
            "overloaded_error: Overloaded",
        ),
        ("event: error\ndata: no JSON", "provider error: no JSON"),
        (
            r#"data: {"error":{"code":"insufficient_quota","message":"You exceeded your quota"}}"#,
            "insufficient_quota: You exceeded your quota",
        ),
    ] {
        let Content::Broken(reason) = first(event) else {
            panic!("{event}")
        };
        assert_eq!(reason.as_str(), text);
        assert_eq!(later(event), StreamVerdict::Broken(reason));
    }
}

#[test]
fn rate_limit_in_a_stream_is_a_throttle() {
    let wait = Some(Duration::from_millis(2_500));
    for (event, retry_after) in [
        (
            r#"data: {"error":{"type":"rate_limit_error","message":"Slow down"}}"#,
            None,
        ),
        (
            r#"data: {"error":{"code":"rate_limit_exceeded","message":"Slow down","retry_after":2.5}}"#,
            wait,
        ),
        (
            r#"data: {"error":{"code":"rate_limit_exceeded","message":"Slow down","retry_after":-1}}"#,
            None,
        ),
        (
            r#"data: {"error":{"code":"rate_limit_exceeded","message":"Slow down","retry_after":0}}"#,
            None,
        ),
    ] {
        let Content::Throttled {
            retry_after: named,
            reason,
        } = first(event)
        else {
            panic!("{event}")
        };
        assert_eq!(named, retry_after, "{event}");
        assert_eq!(later(event), StreamVerdict::throttled(retry_after, reason));
    }
}

#[test]
fn last_event_is_that_of_openai_or_of_anthropic() {
    assert_eq!(later(DONE), StreamVerdict::Done);
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}";
    assert_eq!(later(stop), StreamVerdict::Done);
    assert_eq!(later(HELLO), StreamVerdict::Continue);
    let talk = r#"data: {"choices":[{"delta":{"content":"[DONE] \"error\":{}"}}]}"#;
    assert_eq!(later(talk), StreamVerdict::Continue);
}

/// The verdict of `llm::error_body` on an error with this status and body.
async fn verdict(status: u16, body: &'static str) -> Option<ErrorVerdict> {
    let client = service_fn(move |_: Request<()>| async move {
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
    });
    let client = ReadErrorsLayer::new(llm::error_body).layer(client);
    let response = client.oneshot(Request::new(())).await.unwrap();
    ErrorVerdict::within(response.extensions()).cloned()
}

#[tokio::test]
async fn account_that_cannot_be_used_is_fatal_whatever_the_status() {
    let unpaid = r#"{"error":{"message":"You exceeded your quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let fatal = Outcome::fatal(Reason::labelled(
        "insufficient_quota",
        "You exceeded your quota",
    ));
    let verdict_of_unpaid = verdict(429, unpaid).await.unwrap();
    assert_eq!(verdict_of_unpaid.get_outcome(), Some(&fatal));
    assert_eq!(verdict_of_unpaid, ErrorVerdict::new().outcome(fatal));

    let revoked =
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    let fatal = Outcome::fatal(Reason::labelled(
        "authentication_error",
        "invalid x-api-key",
    ));
    assert_eq!(
        verdict(401, revoked).await.unwrap().get_outcome(),
        Some(&fatal)
    );
}

#[tokio::test]
async fn request_that_another_provider_may_accept_goes_on() {
    for code in ["context_length_exceeded", "model_not_found"] {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#);
        let goes_on = ErrorVerdict::new().outcome(Outcome::Answered).advance(true);
        assert_eq!(verdict(400, body.leak()).await, Some(goes_on));
    }
}

#[tokio::test]
async fn status_decides_where_the_body_says_no_more() {
    for body in [
        r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
        r#"{"error":{"message":"insufficient_quota","code":"other"}}"#,
        r#"{"error":null}"#,
        "Bad Gateway",
    ] {
        assert_eq!(
            verdict(429, body).await,
            Some(ErrorVerdict::new()),
            "{body}"
        );
    }
}

#[test]
fn identifiers_of_an_error_contain_no_text() {
    let told = ApiError::in_body(
        r#"{"error":{"message":"No room","type":"invalid_request_error","code":"org-secret is full","param":"messages[0].content"}}"#,
    );
    let error = told.unwrap();
    assert_eq!(error.kind(), Some("invalid_request_error"));
    assert_eq!(error.code(), None);
    assert_eq!(error.param(), Some("messages[0].content"));
    assert_eq!(error.message(), Some("No room"));
    assert_eq!(error.reason().label(), "provider error");
    assert_eq!(ApiError::in_body(r#"{"errors":[]}"#), None);
}

/// The body that a client reads of a response with these headers and this body.
async fn delivered(media_type: &str, coding: &str, body: &'static str) -> Bytes {
    let response = Response::builder()
        .header("content-type", media_type)
        .header("content-encoding", coding)
        .body(Full::new(Bytes::from_static(body.as_bytes())));
    let body = EventBody::wrap(response.unwrap()).into_body();
    body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn stream_that_breaks_off_ends_with_an_error_event_for_its_client() {
    let error = "data: {\"error\":{\"code\":\"stream_broken_off\"";
    let broken_off = "data: {\"choices\":[]}\n\ndata: {\"cho";
    let read = delivered("text/event-stream; charset=utf-8", "identity", broken_off).await;
    let rest = read.strip_prefix(b"data: {\"choices\":[]}\n\n").unwrap();
    assert!(rest.starts_with(error.as_bytes()), "{read:?}");

    let whole = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    assert_eq!(
        delivered("text/event-stream", "identity", whole).await,
        whole
    );
}

#[tokio::test]
async fn last_event_without_a_blank_line_is_judged_too() {
    let error = r#"data: {"error":{"message":"org-secret"}}"#;
    let after_the_last = format!("data: [DONE]\n\n{error}\n").leak();
    let read = delivered("text/event-stream", "identity", after_the_last).await;
    assert!(!read.windows(10).any(|it| it == b"org-secret"), "{read:?}");

    let body = Full::new(Bytes::from(error));
    let shown = EventBody::new(body).show_errors(true).collect().await;
    assert_eq!(shown.unwrap().to_bytes(), error);
}

#[tokio::test]
async fn event_that_grows_without_end_breaks_the_stream_off() {
    let begun = "data: {}\n\n";
    for filler in [
        "x".repeat(3 << 20),
        format!("data: {}\n\n", "x".repeat(2 << 20)),
    ] {
        let body: &str = format!("{begun}{filler}").leak();
        let read = delivered("text/event-stream", "identity", body).await;
        assert!(read.len() < 1_000, "{} bytes", read.len());
        let broken = b"stream_broken_off";
        assert!(
            read.windows(broken.len()).any(|it| it == broken),
            "{read:?}"
        );
    }
}

#[test]
fn length_of_an_event_stream_is_no_longer_announced() {
    let response = |media_type| {
        let head = Response::builder()
            .header("content-length", "9")
            .header("content-type", media_type);
        let body = Full::new(Bytes::from_static(b"data: 1\n\n"));
        EventBody::wrap(head.body(body).unwrap())
    };
    assert!(
        !response("text/event-stream")
            .headers()
            .contains_key("content-length")
    );
    assert!(
        response("text/plain")
            .headers()
            .contains_key("content-length")
    );
}

#[tokio::test]
async fn what_is_no_event_stream_or_compressed_is_delivered_unchanged() {
    for (media_type, coding) in [
        ("application/json", "identity"),
        ("text/event-stream", "br"),
    ] {
        assert_eq!(
            delivered(media_type, coding, "data: {\"cho").await,
            "data: {\"cho"
        );
    }
}

/// The state and the failures of an account's breaker after a call with this result.
async fn account_after(result: Result<(u16, &'static str), ErrorKind>) -> (State, u32) {
    let client = service_fn(move |_: Request<()>| async move {
        let (status, body) = result.map_err(io::Error::from)?;
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        Ok::<_, BoxError>(Response::builder().status(status).body(body).unwrap())
    });
    let account = HealthCache::default().provider("account");
    account.mark_unhealthy("a strike");
    let layer = HealthLayer::new(account.clone()).classify(AccountClassifier);
    let stack = layer.layer(ReadErrorsLayer::new(llm::error_body).layer(client));
    let _ = stack.oneshot(Request::new(())).await;
    let health = account.health();
    (health.state, health.consecutive_failures)
}

#[tokio::test]
async fn account_fails_only_by_what_concerns_all_its_models() {
    let unpaid = r#"{"error":{"code":"insufficient_quota","message":"You exceeded your quota"}}"#;
    for refused in [(401, ""), (402, ""), (403, ""), (429, unpaid)] {
        assert_eq!(
            account_after(Ok(refused)).await.0,
            State::Open,
            "{refused:?}"
        );
    }
    let unreachable = account_after(Err(ErrorKind::ConnectionRefused)).await;
    assert_eq!(unreachable, (State::Open, 2), "the second failure");
    for concerns_a_model in [(200, ""), (400, ""), (404, ""), (429, ""), (500, "")] {
        let after = account_after(Ok(concerns_a_model)).await;
        assert_eq!(after, (State::Closed, 0), "{concerns_a_model:?}");
    }
    let slow = account_after(Err(ErrorKind::TimedOut)).await;
    assert_eq!(slow, (State::Closed, 1), "neutral");
}

#[test]
fn rejection_keeps_status_and_code_and_hides_the_text() {
    let body = br#"{"error":{"code":"content_filter","message":"org-secret"}}"#;
    let hidden = llm::rejected_response(StatusCode::BAD_REQUEST, body, false);
    let error = ApiError::in_body(hidden.body()).unwrap();
    assert_eq!(
        (hidden.status(), error.code()),
        (StatusCode::BAD_REQUEST, Some("content_filter"))
    );
    assert!(!hidden.body().contains("org-secret"));

    let shown = llm::rejected_response(StatusCode::BAD_REQUEST, body, true);
    assert_eq!(shown.body().as_bytes(), body);
    let unread = llm::rejected_response(StatusCode::NOT_FOUND, b"\xff", false);
    assert_eq!(
        ApiError::in_body(unread.body()).unwrap().code(),
        Some("rejected")
    );
}
