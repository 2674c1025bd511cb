//! A classifier from a file.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use tower_health::{
    Classify, HealthCache, Outcome,
    http::{StatusClassifier, StreamVerdict},
};

#[track_caller]
fn classifier(value: Value) -> StatusClassifier {
    serde_json::from_value(value).expect("a classifier")
}

#[track_caller]
fn refusal(value: &Value) -> String {
    let refused = serde_json::from_value::<StatusClassifier>(value.clone());
    refused
        .expect_err(&format!("accepted: {value}"))
        .to_string()
}

fn outcome(classifier: &StatusClassifier, status: u16) -> Outcome {
    classifier.outcome(StatusCode::from_u16(status).unwrap(), &HeaderMap::new())
}

fn advances(classifier: &StatusClassifier, status: u16) -> bool {
    classifier.advances(StatusCode::from_u16(status).unwrap(), &HeaderMap::new())
}

#[track_caller]
fn assert_alike(one: &StatusClassifier, other: &StatusClassifier) {
    for status in 100..=999 {
        assert_eq!(outcome(one, status), outcome(other, status), "{status}");
        assert_eq!(advances(one, status), advances(other, status), "{status}");
    }
}

#[test]
fn empty_table_is_the_default_classifier() {
    for empty in [
        json!({}),
        json!({"failure_on": [], "advance_on": null, "credentials_as_failures": false}),
    ] {
        assert_alike(&classifier(empty), &StatusClassifier::new());
    }
}

#[test]
fn each_list_does_what_its_setter_does() {
    let everything = classifier(json!({
        "credentials_as_failures": true,
        "success_on": [404],
        "answered_on": [500],
        "neutral_on": [502],
        "throttled_on": [503],
        "failure_on": [400, 409],
        "fatal_on": [410],
        "advance_on": [404, 502],
        "return_on": [400],
    }));
    let by_setters = StatusClassifier::new()
        .credentials_as_failures()
        .success_on([404])
        .answered_on([500])
        .neutral_on([502])
        .throttled_on([503])
        .failure_on([400, 409])
        .fatal_on([410])
        .advance_on([404, 502])
        .return_on([400]);
    assert_alike(&everything, &by_setters);
}

#[test]
fn lists_take_precedence_over_credentials() {
    let read = classifier(json!({"credentials_as_failures": true, "answered_on": [402]}));
    assert_eq!(outcome(&read, 401), Outcome::fatal("401"));
    assert_eq!(outcome(&read, 402), Outcome::Answered);
}

#[test]
fn retry_hint_is_that_of_the_named_api() {
    let mut headers = HeaderMap::new();
    headers.insert(
        "x-ratelimit-remaining-tokens",
        HeaderValue::from_static("0"),
    );
    headers.insert("x-ratelimit-reset-tokens", HeaderValue::from_static("7s"));
    headers.insert(
        "anthropic-ratelimit-tokens-remaining",
        HeaderValue::from_static("0"),
    );
    headers.insert(
        "anthropic-ratelimit-tokens-reset",
        HeaderValue::from_static("2026-01-01T00:00:09Z"),
    );
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
    headers.insert("x-ratelimit-reset", HeaderValue::from_static("1767225611"));
    headers.insert(
        "date",
        HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"),
    );
    for (api, seconds) in [("openai", 7), ("anthropic", 9), ("github", 11)] {
        let read = classifier(json!({"retry_hint": api}));
        let throttled = read.outcome(StatusCode::TOO_MANY_REQUESTS, &headers);
        let wait = Some(Duration::from_secs(seconds));
        assert_eq!(throttled, Outcome::throttled(wait, "429"), "{api}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_is_that_of_the_configuration() {
    let read = classifier(json!({"idle_timeout": "20s"}));
    let provider = HealthCache::default().provider("groq");
    let (_sender, body) = http_body_util::channel::Channel::<bytes::Bytes>::new(1);
    let response = Ok::<_, std::io::Error>(Response::new(body));
    let response = read.classify(response, provider.admit().unwrap()).unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "body idle for longer than 20s");
}

#[tokio::test]
async fn table_over_a_classifier_keeps_its_closures_and_lists() {
    let base = StatusClassifier::new()
        .failure_on([404])
        .judge_sse(|event| match event.data {
            "bad" => StreamVerdict::broken("bad event"),
            _ => StreamVerdict::Continue,
        });
    let read = base.deserialize(json!({"throttled_on": [503]})).unwrap();
    assert_eq!(outcome(&read, 404), Outcome::failure("404"));
    assert_eq!(outcome(&read, 503), Outcome::throttled(None, "503"));

    let provider = HealthCache::default().provider("groq");
    let events = Response::builder()
        .header("content-type", "text/event-stream")
        .body("data: bad\n\n".to_owned());
    let response = Ok::<_, std::io::Error>(events.unwrap());
    let response = read.classify(response, provider.admit().unwrap()).unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(provider.health().last_error.unwrap(), "bad event");
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let must = "HTTP status must be between 100 and 999";
    for (given, said) in [
        (json!({"failure_on": [99]}), format!("failure_on: {must}, got 99")),
        (
            json!({"neutral_on": [500, 1000]}),
            format!("neutral_on: {must}, got 1000"),
        ),
        (
            json!({"advance_on": ["404"]}),
            format!(r#"advance_on: {must}, got "404""#),
        ),
        (
            json!({"return_on": [-1]}),
            format!("return_on: {must}, got -1"),
        ),
        (
            json!({"throttled_on": 503}),
            "throttled_on: must be a list, got 503".into(),
        ),
        (
            json!({"throttled_on": [503], "answered_on": [503]}),
            "throttled_on: 503 is also in answered_on".into(),
        ),
        (
            json!({"advance_on": [503], "return_on": [503]}),
            "return_on: 503 is also in advance_on".into(),
        ),
        (
            json!({"idle_timeout": "0s"}),
            "idle_timeout: must be longer than zero, got 0ns".into(),
        ),
        (
            json!({"credentials_as_failures": 1}),
            "credentials_as_failures: must be true or false, got 1".into(),
        ),
        (
            json!({"retry_hint": "groq"}),
            "retry_hint: unknown variant `groq`, expected one of `openai`, `anthropic`, `github`"
                .into(),
        ),
        (
            json!({"failures_on": []}),
            "unknown field `failures_on`, expected one of `credentials_as_failures`, `success_on`, \
             `answered_on`, `neutral_on`, `throttled_on`, `failure_on`, `fatal_on`, `advance_on`, \
             `return_on`, `idle_timeout`, `retry_hint`"
                .into(),
        ),
        (
            json!("503"),
            r#"invalid type: string "503", expected a table of a classifier's settings"#.into(),
        ),
    ] {
        assert_eq!(refusal(&given), said);
    }
}
