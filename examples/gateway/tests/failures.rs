//! The answers to a client, and the records of the breakers, for each failure in the table of `docs/gateway.md`.

mod rig;

use std::time::Duration;

use gateway::demo::Behavior;
use serde_json::json;

use crate::rig::{Answer, CONFIG, Rig};

const LIMIT: Duration = Duration::from_millis(300);

/// Streams two answers while `alpha` fails. `beta` serves, and the breaker of `alpha`'s model opens.
async fn goes_on(behavior: Behavior, last_error: &str) -> [Answer; 2] {
    let rig = Rig::start().await;
    rig.alpha.now(behavior);
    let first = rig.stream("chat").await;
    first.assert("beta/large", 2, "Hello from beta");
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["closed", null, 1, last_error])
    );
    let second = rig.stream("chat").await;
    second.assert("beta/large", 2, "Hello from beta");
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["open", "failures", 2, last_error])
    );

    let third = rig.stream("chat").await;
    third.assert("beta/large", 1, "Hello from beta");
    assert_eq!(
        rig.alpha.requests().len(),
        2,
        "the breaker refuses the third"
    );
    assert_eq!(rig.health("alpha").await["state"], "closed");
    for answer in [&first, &second, &third] {
        answer.assert_discreet();
    }
    [first, second]
}

/// Streams two answers that `alpha` begins but does not finish.
async fn breaks_off(behavior: Behavior, text: &str, last_error: &str) -> [Answer; 2] {
    let rig = Rig::start().await;
    rig.alpha.now(behavior);
    let first = rig.stream("chat").await;
    first.assert("alpha/large", 1, text);
    rig.until_recorded("alpha/large", json!(["closed", null, 1, last_error]))
        .await;
    let second = rig.stream("chat").await;
    rig.until_recorded("alpha/large", json!(["open", "failures", 2, last_error]))
        .await;
    rig.stream("chat")
        .await
        .assert("beta/large", 1, "Hello from beta");
    first.assert_discreet();
    [first, second]
}

#[tokio::test]
async fn provider_that_serves_is_passed_through() {
    let rig = Rig::start().await;
    rig.stream("chat")
        .await
        .assert("alpha/large", 1, "Hello from alpha");
    rig.ask("chat", false)
        .await
        .assert("alpha/large", 1, "Hello from alpha");
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["closed", null, 0, null])
    );
}

#[tokio::test]
async fn hanging_provider_costs_the_time_limit_until_its_breaker_opens() {
    for answer in goes_on(Behavior::Hangs, "timeout").await {
        assert!(
            answer.after >= LIMIT && answer.after < 3 * LIMIT,
            "{:?}",
            answer.after
        );
    }
}

#[tokio::test]
async fn status_500_goes_on() {
    goes_on(Behavior::Fails(500, "server_error"), "500").await;
}

#[tokio::test]
async fn error_with_status_200_goes_on() {
    goes_on(Behavior::Fails(200, "server_error"), "server_error").await;
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::Fails(200, "server_error"));
    let answer = rig.ask("alone", false).await;
    assert_eq!(answer.status, 503);
    answer.assert_discreet();
}

#[tokio::test]
async fn error_before_the_first_token_goes_on() {
    goes_on(Behavior::BeginsWithError, "server_error").await;
}

#[tokio::test]
async fn error_after_the_first_token_ends_the_stream_with_the_gateways_own() {
    breaks_off(
        Behavior::TurnsToError,
        "Hello from alpha[stream_broken_off]",
        "server_error",
    )
    .await;
}

#[tokio::test]
async fn stream_that_breaks_off_ends_with_an_error_event() {
    breaks_off(
        Behavior::BreaksOff,
        "Hello [stream_broken_off]",
        "incomplete",
    )
    .await;
}

#[tokio::test]
async fn stream_without_its_last_event_is_no_complete_answer() {
    breaks_off(
        Behavior::EndsEarly,
        "Hello from alpha[stream_broken_off]",
        "incomplete",
    )
    .await;
}

#[tokio::test]
async fn silence_within_a_stream_has_its_own_limit() {
    let answers = breaks_off(
        Behavior::FallsSilent,
        "Hello from alpha[stream_broken_off]",
        "timeout",
    )
    .await;
    for answer in answers {
        assert!(
            answer.after >= LIMIT && answer.after < 3 * LIMIT,
            "{:?}",
            answer.after
        );
    }
}

#[tokio::test]
async fn answer_that_is_not_streamed_is_whole_or_from_the_next_provider() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::BreaksOff);
    rig.ask("chat", false)
        .await
        .assert("beta/large", 2, "Hello from beta");
    let broken = json!(["closed", null, 1, "incomplete"]);
    assert_eq!(rig.recorded("alpha/large").await, broken);

    rig.alpha.now(Behavior::Hangs);
    let answer = rig.ask("chat", false).await;
    answer.assert("beta/large", 2, "Hello from beta");
    assert!(answer.after >= 2 * LIMIT, "the limit of whole answers");
    let hung = json!(["open", "failures", 2, "timeout"]);
    assert_eq!(rig.recorded("alpha/large").await, hung);
}

#[tokio::test]
async fn throttle_of_one_model_leaves_its_sisters_alone() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::Throttles(40));
    rig.stream("chat")
        .await
        .assert("beta/large", 2, "Hello from beta");
    let throttled = json!(["open", "throttled", 0, "429"]);
    assert_eq!(rig.recorded("alpha/large").await, throttled);
    let row = rig.health("alpha/large").await;
    let wait = row["not_before_seconds"].as_f64().unwrap();
    assert!((39.0..=40.0).contains(&wait), "{wait}");

    rig.alpha.now(Behavior::Serves);
    rig.stream("chat")
        .await
        .assert("beta/large", 1, "Hello from beta");
    rig.stream("sister")
        .await
        .assert("alpha/small", 1, "Hello from alpha");
    assert_eq!(rig.health("alpha").await["state"], "closed");
}

#[tokio::test]
async fn account_that_cannot_be_used_takes_out_all_its_models() {
    for (status, code) in [
        (401, "invalid_api_key"),
        (403, "access_denied"),
        (429, "insufficient_quota"),
    ] {
        let rig = Rig::start().await;
        rig.alpha.now(Behavior::Fails(status, code));
        rig.stream("chat")
            .await
            .assert("beta/large", 2, "Hello from beta");
        let account = rig.recorded("alpha").await;
        assert_eq!(
            (&account[0], &account[1]),
            (&json!("open"), &json!("failures"))
        );

        let error = rig.stream("sister").await;
        error.assert_discreet();
        rig.stream("chat")
            .await
            .assert("beta/large", 1, "Hello from beta");
        assert_eq!(
            rig.alpha.requests().len(),
            2,
            "the last resort of the sister"
        );
    }
}

#[tokio::test]
async fn host_that_cannot_be_reached_takes_out_the_account() {
    let rig = Rig::with(&CONFIG.replace("http://alpha", "http://127.0.0.1:1")).await;
    for _ in 0..2 {
        rig.stream("chat")
            .await
            .assert("beta/large", 2, "Hello from beta");
    }
    let refused = json!(["open", "failures", 2, "connect"]);
    assert_eq!(rig.recorded("alpha").await, refused);
    rig.stream("chat")
        .await
        .assert("beta/large", 1, "Hello from beta");
}

#[tokio::test]
async fn error_is_immediate_and_names_its_time_where_all_providers_are_down() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::Throttles(40));
    rig.beta.now(Behavior::Throttles(7));
    let first = rig.stream("chat").await;
    let second = rig.stream("chat").await;
    for answer in [&first, &second] {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.text(), "[rate_limit_exceeded]");
        let [seconds, millis, should_retry] = &answer.retry;
        assert_eq!(seconds.as_deref(), Some("7"));
        let millis: u32 = millis.as_ref().unwrap().parse().unwrap();
        assert!((6_000..=7_000).contains(&millis), "{millis}");
        assert_eq!(
            should_retry.as_deref(),
            Some("false"),
            "a client should not sleep so long"
        );
        answer.assert_discreet();
    }
    assert_eq!((&*first.attempts, &*second.attempts), ("2", "0"));
    assert!(
        second.after < Duration::from_millis(100),
        "{:?}",
        second.after
    );
}

#[tokio::test]
async fn wait_that_a_client_can_sleep_is_left_to_the_client() {
    let rig = Rig::with(&CONFIG.replace(r#""3s""#, r#""500ms""#)).await;
    for upstream in [&rig.alpha, &rig.beta] {
        upstream.now(Behavior::Fails(503, "overloaded"));
    }
    rig.stream("chat").await;
    rig.stream("chat").await;
    let answer = rig.stream("chat").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), "[no_healthy_provider]");
    assert_eq!(answer.retry[0].as_deref(), Some("1"));
    assert_eq!(answer.retry[2], None);
}

#[tokio::test]
async fn request_that_everybody_answers_with_500_does_not_silence_the_gateway() {
    let rig = Rig::start().await;
    for upstream in [&rig.alpha, &rig.beta] {
        upstream.now(Behavior::Fails(500, "server_error"));
    }
    // A client's SDK retries twice.
    for _ in 0..3 {
        assert_eq!(rig.stream("chat").await.status, 503);
    }
    for upstream in [&rig.alpha, &rig.beta] {
        upstream.now(Behavior::Serves);
    }
    let answer = rig.stream("chat").await;
    assert_eq!(answer.text(), "Hello from beta", "{answer:?}");
}

#[tokio::test]
async fn request_at_fault_is_answered_and_opens_nothing() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::Fails(400, "invalid_value"));
    for _ in 0..3 {
        let answer = rig.stream("chat").await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.text(), "[invalid_value]");
        assert_eq!(
            (&*answer.served_by, &*answer.attempts),
            ("alpha/large", "1")
        );
        answer.assert_discreet();
    }
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["closed", null, 0, null])
    );
}

#[tokio::test]
async fn request_that_another_provider_may_accept_goes_on() {
    let rig = Rig::start().await;
    for (status, code) in [(400, "context_length_exceeded"), (404, "model_not_found")] {
        rig.alpha.now(Behavior::Fails(status, code));
        rig.stream("chat")
            .await
            .assert("beta/large", 2, "Hello from beta");
    }
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["closed", null, 0, null])
    );
}
