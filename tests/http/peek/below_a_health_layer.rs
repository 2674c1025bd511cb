//! The outcomes that the layer above records.

use std::future::ready;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt};
use tower_health::{
    BoxError, Cause, HealthLayer, Provider, Reason, State,
    error::{CircuitOpen, find},
    http::{Content, HealthBody, PeekBody, PeekError, PeekLayer, unavailable_response},
};

use super::{
    HOUR, Reset, SECOND, Script, compressed, data, event_stream, peeked, provider, reset, tokens,
    wait,
};

/// Scenario 37.
#[tokio::test(start_paused = true)]
async fn two_broken_beginnings_open_the_breaker() {
    let provider = provider();
    let broken = Script::new([data("event: error\ndata: overloaded\n\n")]);

    for _ in 0..2 {
        assert_eq!(provider.health().state, State::Closed);
        let error = guarded(&provider, &broken).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
    }

    let health = provider.health();
    assert_eq!(health.state, State::Open);
    let reason = "body began with an error: overloaded";
    assert_eq!(health.last_error.unwrap(), reason);
    let error = guarded(&provider, &broken).await.unwrap_err();
    assert!(find::<CircuitOpen>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn whatever_keeps_a_body_from_beginning_is_a_failure() {
    for (beginning, reason) in [
        (wait(HOUR), "timeout: body did not begin within 30s"),
        (reset(), "connection reset"),
        (data(""), "incomplete: body ended without content"),
    ] {
        let provider = provider();
        guarded(&provider, &Script::new([beginning]))
            .await
            .unwrap_err();
        let health = provider.health();
        assert_eq!(health.consecutive_failures, 1);
        assert_eq!(health.last_error.unwrap(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_begins_and_ends_is_a_success() {
    let provider = provider();
    provider.mark_unhealthy("a strike");
    let well = Script::new([data("data: Hello\n\n")]);
    let response = guarded(&provider, &well).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(provider.health().consecutive_failures, 0);
}

/// Anthropic ends a turn without content if the model has nothing to say.
#[tokio::test(start_paused = true)]
async fn a_turn_without_content_is_the_callers_and_a_success() {
    let provider = provider();
    provider.mark_unhealthy("a strike");
    let turn = "event: message_start\ndata: {}\n\nevent: message_stop\ndata: {}\n\n";
    let layer = PeekLayer::first_sse_event(|event| match event.event {
        "content_block_delta" => Content::Begun,
        _ => Content::NotYet,
    });
    let stack = ServiceBuilder::new()
        .layer(HealthLayer::http(provider.clone()))
        .layer(layer)
        .service_fn(|_: Request<()>| {
            let response = event_stream(Script::new([data(turn)]));
            ready(Ok::<_, Reset>(response))
        });
    let response = stack.oneshot(Request::default()).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), turn);
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn compressed_events_are_not_held_against_their_provider() {
    let provider = provider();
    provider.mark_unhealthy("a strike");
    let stack = ServiceBuilder::new()
        .layer(HealthLayer::http(provider.clone()))
        .layer(PeekLayer::first_sse_event(|_| Content::Begun))
        .service_fn(|_: Request<()>| {
            let response = compressed(Script::new([data("\u{1f}")]));
            ready(Ok::<_, Reset>(response))
        });
    assert!(stack.oneshot(Request::default()).await.is_ok());
    assert_eq!(provider.health().consecutive_failures, 1);
    assert!(provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_asked_for_in_a_body_throttles_without_a_strike() {
    let error = after_first_event(Content::throttled(Some(7 * SECOND), "slow down")).await;
    let (provider, error) = error;
    let health = provider.health();
    assert_eq!(health.cause, Some(Cause::Throttled));
    assert_eq!(health.retry_in, Some(7 * SECOND));
    assert_eq!(health.consecutive_failures, 0);
    let answer = unavailable_response(&*error);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn the_label_of_what_a_provider_reports_is_kept() {
    let reason = Reason::labelled("quota", "3 of 3 used");
    let (provider, error) = after_first_event(Content::broken(reason)).await;
    let reason = provider.health().last_error.unwrap();
    assert_eq!(reason.label(), "quota");
    assert_eq!(
        reason,
        "quota: body began with an error: quota: 3 of 3 used"
    );
    let answer = unavailable_response(&*error);
    assert_eq!(answer.body(), r#"{"error":"quota","attempts":[]}"#);
}

/// Makes one call. Returns the provider and the call's error.
async fn after_first_event(content: Content) -> (Provider, BoxError) {
    let provider = provider();
    let stack = ServiceBuilder::new()
        .layer(HealthLayer::http(provider.clone()))
        .layer(PeekLayer::first_sse_event(move |_| content.clone()))
        .service_fn(|_: Request<()>| {
            let response = event_stream(Script::new([data("data: {}\n\n")]));
            ready(Ok::<_, Reset>(response))
        });
    let error = stack.oneshot(Request::default()).await.map(|_| ());
    (provider, error.unwrap_err())
}

/// Scenario 45.
#[tokio::test(start_paused = true)]
async fn a_caller_who_walks_away_before_the_beginning_says_nothing() {
    let provider = provider();
    provider.mark_unhealthy("a strike");
    let slow = Script::new([wait(SECOND), data("data: Hello\n\n")]);
    for _ in 0..3 {
        assert_pending!(task::spawn(guarded(&provider, &slow)).poll());
        assert_eq!(provider.health().consecutive_failures, 1);
    }
}

fn guarded(
    provider: &Provider,
    body: &Script,
) -> impl Future<Output = Result<Response<HealthBody<PeekBody<Script>>>, BoxError>> + use<> {
    let response = event_stream(body.clone());
    ServiceBuilder::new()
        .layer(HealthLayer::http(provider.clone()))
        .layer(tokens())
        .service_fn(move |_: Request<()>| ready(Ok::<_, Reset>(response.clone())))
        .oneshot(Request::default())
}
