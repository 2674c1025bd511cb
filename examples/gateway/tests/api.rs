//! The API of OpenAI: the requests that are sent on, and the providers that receive them.

mod rig;

use std::time::Duration;

use gateway::demo::Behavior;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rig::{Answer, CONFIG, Rig, request};

#[tokio::test]
async fn provider_gets_its_own_model_and_every_other_value_as_it_was_sent() {
    let rig = Rig::start().await;
    let sent = r#"{"model":"chat","messages":[{"role":"user","content":"Hello"}],"seed":12345678901234567890123,"metadata":[{"z":1,"a":2.50}]}"#;
    let request = rig
        .post("/v1/chat/completions")
        .header("authorization", "Bearer of-the-client")
        .header("accept-encoding", "gzip")
        .body(sent);
    let began = Instant::now();
    Answer::of(request.send().await.unwrap(), began)
        .await
        .assert("alpha/large", 1, "Hello from alpha");
    let (headers, body) = rig.alpha.requests().pop().unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(body.contains(r#""model":"large""#), "{body}");
    assert!(body.contains(r#""seed":12345678901234567890123"#), "{body}");
    assert!(body.contains(r#"[{"z":1,"a":2.50}]"#), "{body}");
    assert_eq!(headers.get("authorization"), None);
    assert_eq!(headers.get("accept-encoding"), None);
}

#[tokio::test]
async fn provider_gets_its_own_key() {
    // `PATH` is a variable that is always set.
    let config = CONFIG.replace("[aliases]", "alpha.key_env = \"CARGO_PKG_NAME\"\n[aliases]");
    let rig = Rig::with(&config).await;
    rig.stream("chat").await;
    let (headers, _) = rig.alpha.requests().pop().unwrap();
    assert_eq!(headers["authorization"], "Bearer gateway");
}

#[tokio::test]
async fn models_are_the_aliases() {
    let rig = Rig::start().await;
    let models = rig
        .get("/v1/models")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let models: Value = serde_json::from_slice(&models).unwrap();
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(json!(ids), json!(["alone", "chat", "sister"]));
    assert_eq!(models["object"], "list");
}

#[tokio::test]
async fn unknown_alias_is_answered_as_openai_does() {
    let rig = Rig::start().await;
    let answer = rig.stream("gpt-5").await;
    assert_eq!(answer.status, 404);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let error = json!({"error": {
        "message": "The model `gpt-5` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": null,
        "code": "model_not_found",
    }});
    assert_eq!(body, error);
}

#[tokio::test]
async fn body_without_a_model_is_refused() {
    let rig = Rig::start().await;
    for body in ["", "{}", "[]", r#"{"model": 5}"#, r#"{"model": "chat""#] {
        let began = Instant::now();
        let response = rig
            .post("/v1/chat/completions")
            .body(body)
            .send()
            .await
            .unwrap();
        let answer = Answer::of(response, began).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.text()),
            (400, "[invalid_json]"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn targets_are_chosen_by_length_streaming_and_pin() {
    let rig = Rig::with(&CONFIG.replace(
        "[aliases]",
        r#"[aliases]
        chosen = [
            { provider = "alpha", model = "short", longest_prompt = 100 },
            { provider = "beta", model = "streaming", stream = true },
        ]"#,
    ))
    .await;
    rig.ask("chosen", false)
        .await
        .assert("alpha/short", 1, "Hello from alpha");
    let mut long = request("chosen", true);
    long["messages"][0]["content"] = "word ".repeat(20).into();
    rig.ask_with(&long)
        .await
        .assert("beta/streaming", 1, "Hello from beta");
    long["stream"] = false.into();
    let answer = rig.ask_with(&long).await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.text()),
        (400, "[no_provider_accepts]")
    );

    let pinned = |provider: &str| {
        let request = request("chat", true).to_string();
        rig.post("/v1/chat/completions")
            .header("x-provider", provider.to_owned())
            .body(request)
    };
    let began = Instant::now();
    let answer = Answer::of(pinned("beta").send().await.unwrap(), began).await;
    answer.assert("beta/large", 1, "Hello from beta");
    let answer = Answer::of(pinned("gamma").send().await.unwrap(), began).await;
    assert_eq!(
        (answer.status.as_u16(), &*answer.text()),
        (400, "[no_provider_accepts]")
    );
}

#[tokio::test]
async fn tokens_are_passed_on_as_they_come() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::FallsSilent);
    let request = rig
        .post("/v1/chat/completions")
        .body(request("chat", true).to_string());
    let mut body = reqwest::Body::from(request.send().await.unwrap());
    let began = Instant::now();
    let mut text = String::new();
    while !text.contains("from ") {
        let frame = body.frame().await.unwrap().unwrap();
        text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "before the silence ends"
    );
}

#[tokio::test]
async fn client_that_leaves_early_harms_no_provider() {
    let rig = Rig::start().await;
    rig.alpha.now(Behavior::FallsSilent);
    for _ in 0..3 {
        let request = rig
            .post("/v1/chat/completions")
            .body(request("chat", true).to_string());
        let mut body = reqwest::Body::from(request.send().await.unwrap());
        let _first = body.frame().await.unwrap().unwrap();
        drop(body);
    }
    sleep(Duration::from_millis(400)).await;
    assert_eq!(
        rig.recorded("alpha/large").await,
        json!(["closed", null, 0, null])
    );
}
