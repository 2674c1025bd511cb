//! An hour of trouble, scaled to a minute.

mod rig;

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gateway::demo::Behavior::{self, BeginsWithError, Fails, Hangs, Serves, Throttles};
use serde_json::Value;
use tokio::time::sleep;

use crate::rig::{
    CONFIG, Rig,
    clients::{Asked, Client},
};

const DOWN: Behavior = Fails(503, "overloaded");

/// The behavior of `alpha` and `beta` in each outage. A client may see an error only while both are down.
const TROUBLES: [(Behavior, Behavior); 11] = [
    (Hangs, Serves),
    (Serves, Hangs),
    (Fails(500, "server_error"), Serves),
    (Throttles(1), Serves),
    (BeginsWithError, Serves),
    (DOWN, DOWN),
    (Fails(401, "invalid_api_key"), Serves),
    (Serves, DOWN),
    (DOWN, Serves),
    (Fails(429, "insufficient_quota"), Serves),
    (Serves, Throttles(1)),
];
const TROUBLE: Duration = Duration::from_secs(2);
/// Time between outages, in which both serve. It exceeds the longest time for which an outage keeps a breaker open.
const PAUSE: Duration = Duration::from_millis(1_500);

/// The time for which a breaker stays open.
const WINDOW: Duration = Duration::from_millis(500);

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

/// Plays the outages in a loop. Returns the times at which both providers were down.
async fn play(rig: &Rig, is_over: impl Fn() -> bool) -> Vec<Range<f64>> {
    let mut downs = Vec::new();
    for (alpha, beta) in TROUBLES.iter().cycle() {
        if is_over() {
            break;
        }
        rig.alpha.now(*alpha);
        rig.beta.now(*beta);
        let began = now();
        sleep(TROUBLE).await;
        if (*alpha, *beta) == (DOWN, DOWN) {
            downs.push(began..now());
        }
        rig.alpha.now(Serves);
        rig.beta.now(Serves);
        sleep(PAUSE).await;
    }
    downs
}

#[tokio::test]
async fn client_sees_no_error_in_an_hour_of_trouble_unless_all_providers_are_down() {
    let Some(client) = Client::python() else {
        return;
    };
    let config = format!("account.backoff.constant = \"500ms\"\n{CONFIG}");
    let config = config
        .replace(r#""3s""#, r#""500ms""#)
        .replace(r#""300ms""#, r#""1s""#);
    let rig = Rig::with(&config.replace(r#""600ms""#, r#""1s""#)).await;
    // Every other call streams.
    let asked = Asked::of(&rig, "chat")
        .with("stream", Value::Null)
        .with("times", 1_000);
    let calls = tokio::spawn(async move { client.call(asked).await });
    let downs = play(&rig, || calls.is_finished()).await;
    let answers = calls.await.unwrap();

    assert_eq!(answers.len(), 1_000);
    let number = |value: &Value| value.as_f64().unwrap();
    let (errors, served): (Vec<_>, Vec<_>) = answers.iter().partition(|it| !it["error"].is_null());
    for answer in served {
        let text = answer["text"].as_str().unwrap();
        assert!(
            ["Hello from alpha", "Hello from beta"].contains(&text),
            "{answer}"
        );
    }
    for error in &errors {
        let (at, took) = (number(&error["at"]), number(&error["took"]));
        let recovery = WINDOW.as_secs_f64();
        let is_excused = |down: &Range<f64>| at + took >= down.start && at <= down.end + recovery;
        assert!(downs.iter().any(is_excused), "{error}, down: {downs:?}");
        assert_eq!(error["status"], 503, "{error}");
        assert!(took < 0.1, "{error}");
        if let Some(wait) = error["wait"].as_str() {
            // Zero if the window ended before the chain reached the last provider.
            let wait = Duration::from_millis(wait.parse().unwrap());
            assert!(wait <= WINDOW, "{error}");
        }
    }
    assert!(!errors.is_empty(), "the script has both down for a while");
}
