//! OpenAI's own clients, for Python and for Node, against the gateway.

mod rig;

use std::time::Duration;

use gateway::demo::Behavior;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::rig::{
    CONFIG, Rig,
    clients::{Asked, clients},
};

/// The parts of an answer that do not depend on time.
fn said(answer: &Value) -> Value {
    json!([
        answer["text"],
        answer["error"],
        answer["status"],
        answer["code"]
    ])
}

#[tokio::test]
async fn answers_are_those_of_the_provider() {
    for client in clients() {
        let rig = Rig::start().await;
        for is_stream in [true, false] {
            let asked = Asked::of(&rig, "chat").with("stream", is_stream);
            let answer = client.call_once(asked).await;
            assert_eq!(
                said(&answer),
                json!(["Hello from alpha", null, null, null]),
                "{client:?}"
            );
        }
        assert_eq!(
            rig.recorded("alpha/large").await,
            json!(["closed", null, 0, null])
        );
    }
}

#[tokio::test]
async fn tool_calls_are_passed_on() {
    for client in clients() {
        let rig = Rig::start().await;
        for is_stream in [true, false] {
            let asked = Asked::of(&rig, "chat")
                .with("tools", true)
                .with("stream", is_stream);
            let answer = client.call_once(asked).await;
            assert_eq!(
                answer["text"], r#"weather{"city":"Oslo"}"#,
                "{client:?}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn client_that_stops_at_done_closes_a_half_open_breaker() {
    for client in clients() {
        let rig = Rig::with(&CONFIG.replace(r#""3s""#, r#""500ms""#)).await;
        rig.alpha.now(Behavior::Fails(500, "server_error"));
        for _ in 0..2 {
            rig.stream("chat").await;
        }
        sleep(Duration::from_millis(500)).await;
        assert_eq!(rig.health("alpha/large").await["state"], "half-open");
        rig.alpha.now(Behavior::Serves);
        let answer = client.call_once(Asked::of(&rig, "chat")).await;
        assert_eq!(answer["text"], "Hello from alpha");
        rig.until_state("alpha/large", "closed").await;
    }
}

#[tokio::test]
async fn client_that_leaves_early_harms_no_provider() {
    for client in clients() {
        let rig = Rig::start().await;
        rig.alpha.now(Behavior::FallsSilent);
        let answers = client
            .call(
                Asked::of(&rig, "chat")
                    .with("leave_after", 2)
                    .with("times", 3),
            )
            .await;
        for answer in answers {
            assert_eq!(answer["text"], "Hello ", "{client:?}");
        }
        assert_eq!(
            rig.recorded("alpha/large").await,
            json!(["closed", null, 0, null])
        );
    }
}

#[tokio::test]
async fn stream_that_does_not_end_well_raises_an_error_after_what_came() {
    for client in clients() {
        for (behavior, text, last_error) in [
            (Behavior::TurnsToError, "Hello from alpha", "server_error"),
            (Behavior::BreaksOff, "Hello ", "incomplete"),
            (Behavior::EndsEarly, "Hello from alpha", "incomplete"),
            (Behavior::FallsSilent, "Hello from alpha", "timeout"),
        ] {
            let rig = Rig::start().await;
            rig.alpha.now(behavior);
            let answer = client.call_once(Asked::of(&rig, "chat")).await;
            assert_eq!(
                said(&answer),
                json!([text, "APIError", null, "stream_broken_off"]),
                "{client:?}: {behavior:?}"
            );
            rig.until_recorded("alpha/large", json!(["closed", null, 1, last_error]))
                .await;
        }
    }
}

#[tokio::test]
async fn unknown_alias_is_an_error_of_its_own_class() {
    for client in clients() {
        let rig = Rig::start().await;
        let answer = client.call_once(Asked::of(&rig, "gpt-5")).await;
        assert_eq!(
            said(&answer),
            json!(["", "NotFoundError", 404, "model_not_found"]),
            "{client:?}"
        );
    }
}

#[tokio::test]
async fn request_that_earns_a_500_from_everybody_does_not_silence_the_gateway() {
    for client in clients() {
        let rig = Rig::start().await;
        for upstream in [&rig.alpha, &rig.beta] {
            upstream.now(Behavior::Fails(500, "server_error"));
        }
        // The client makes three calls by itself.
        let answer = client
            .call_once(Asked::of(&rig, "chat").with("retries", 2))
            .await;
        assert_eq!(
            said(&answer),
            json!(["", "InternalServerError", 503, "no_healthy_provider"]),
            "{client:?}"
        );
        for upstream in [&rig.alpha, &rig.beta] {
            upstream.now(Behavior::Serves);
        }
        let answer = client.call_once(Asked::of(&rig, "chat")).await;
        assert_eq!(answer["error"], Value::Null, "{client:?}: {answer}");
        let states = [
            rig.health("alpha/large").await,
            rig.health("beta/large").await,
        ];
        assert!(
            states.iter().any(|row| row["state"] == "closed"),
            "{states:?}"
        );
    }
}

#[tokio::test]
async fn client_sleeps_as_long_as_it_is_told_to() {
    for client in clients() {
        let rig = Rig::with(&CONFIG.replace(
            r#"longest_retry_after = "1s""#,
            r#"longest_retry_after = "3s""#,
        ))
        .await;
        for upstream in [&rig.alpha, &rig.beta] {
            upstream.now(Behavior::Throttles(2));
        }
        let call = {
            let (client, asked) = (client.clone(), Asked::of(&rig, "chat").with("retries", 1));
            tokio::spawn(async move { client.call_once(asked).await })
        };
        while rig.beta.requests().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        for upstream in [&rig.alpha, &rig.beta] {
            upstream.now(Behavior::Serves);
        }
        let answer = call.await.unwrap();
        assert_eq!(answer["error"], Value::Null, "{client:?}: {answer}");
        assert!(answer["took"].as_f64().unwrap() >= 1.9, "{answer}");
        let requests = rig.alpha.requests().len() + rig.beta.requests().len();
        assert_eq!(requests, 3, "one each, and the one after the wait");
    }
}

#[tokio::test]
async fn client_does_not_sleep_for_long() {
    for client in clients() {
        let rig = Rig::start().await;
        for upstream in [&rig.alpha, &rig.beta] {
            upstream.now(Behavior::Throttles(40));
        }
        let answer = client
            .call_once(Asked::of(&rig, "chat").with("retries", 2))
            .await;
        assert_eq!(
            said(&answer),
            json!(["", "RateLimitError", 429, "rate_limit_exceeded"]),
            "{client:?}"
        );
        assert!(answer["took"].as_f64().unwrap() < 2.0, "{answer}");
        let throttled = json!(["open", "throttled", 0, "429"]);
        assert_eq!(rig.recorded("alpha/large").await, throttled);
    }
}
