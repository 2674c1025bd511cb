//! Options of a chain from a file.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Service, service_fn};
use tower_health::{
    BoxError, ChainOptions, Exhausted, FallbackChain, HealthCache,
    error::{NoHealthyProvider, find},
};

use crate::rig::secs;

#[track_caller]
fn options(value: Value) -> ChainOptions {
    serde_json::from_value(value).expect("options")
}

#[track_caller]
fn refusal(value: &Value) -> String {
    let refused = serde_json::from_value::<ChainOptions>(value.clone());
    refused
        .expect_err(&format!("accepted: {value}"))
        .to_string()
}

/// The error of a chain of two providers that fail.
async fn exhausted(options: ChainOptions) -> NoHealthyProvider {
    let cache = HealthCache::default();
    let fails = service_fn(|(): ()| async { Err::<(), BoxError>("down".into()) });
    let mut chain = FallbackChain::new()
        .deadline(secs(90))
        .options(&options)
        .guard(cache.provider("groq"), fails)
        .guard(cache.provider("openai"), fails);
    let error = chain.call(()).await.expect_err("both fail");
    *error.downcast().expect("the chain is exhausted")
}

#[tokio::test]
async fn number_of_attempts_is_that_of_the_configuration() {
    let all = exhausted(options(json!({}))).await;
    assert_eq!(all.attempts.len(), 2);
    let one = exhausted(options(json!({"max_attempts": 1}))).await;
    assert_eq!(one.attempts.len(), 1);
}

async fn time_until_given_up(options: ChainOptions) -> Duration {
    let cache = HealthCache::default();
    let hangs = service_fn(|(): ()| std::future::pending::<Result<(), BoxError>>());
    let mut chain = FallbackChain::new()
        .deadline(secs(90))
        .options(&options)
        .guard(cache.provider("groq"), hangs);
    let start = Instant::now();
    chain.call(()).await.expect_err("it hangs");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn option_that_is_omitted_stays_as_the_chain_has_it() {
    assert_eq!(time_until_given_up(options(json!({}))).await, secs(90));
    let shorter = options(json!({"deadline": "20s"}));
    assert_eq!(time_until_given_up(shorter).await, secs(20));
}

#[tokio::test(start_paused = true)]
async fn exhausted_chain_does_what_the_configuration_says() {
    let cache = HealthCache::default();
    let groq = cache.provider("groq");
    let chain = |options: ChainOptions| {
        FallbackChain::new().options(&options).guard(
            groq.clone(),
            service_fn(|(): ()| async { Ok::<_, BoxError>(()) }),
        )
    };
    for _ in 0..2 {
        groq.mark_unhealthy("down");
    }
    let refused = chain(options(json!({"when_exhausted": "fail"})))
        .call(())
        .await
        .unwrap_err();
    assert!(find::<NoHealthyProvider>(&*refused).is_some());
    let start = Instant::now();
    let wait = options(json!({"when_exhausted": {"wait": "2m"}}));
    chain(wait).call(()).await.unwrap();
    assert_eq!(start.elapsed(), secs(60));
}

#[tokio::test]
async fn last_answer_is_returned_if_the_configuration_says_so() {
    let cache = HealthCache::default();
    let chain = |options: ChainOptions| {
        FallbackChain::new()
            .options(&options)
            .guard(
                cache.provider("groq"),
                service_fn(|(): ()| async { Ok::<_, BoxError>("") }),
            )
            .advance_when(|result| result.map_or(true, |answer| answer.is_empty()))
    };
    chain(options(json!({}))).call(()).await.unwrap_err();
    let kept = options(json!({"last_answer": true}));
    assert_eq!(chain(kept).call(()).await.unwrap(), "");
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    for (given, said) in [
        (
            json!({"deadline": "0s"}),
            "deadline: must be longer than zero, got 0ns",
        ),
        (
            json!({"deadline": 60}),
            r#"deadline: must be a duration with its unit, such as "60s", got 60"#,
        ),
        (
            json!({"max_attempts": 0}),
            "max_attempts: must be at least 1, got 0",
        ),
        (
            json!({"when_exhausted": {"wait": "0s"}}),
            "when_exhausted.wait: must be longer than zero, got 0ns",
        ),
        (
            json!({"when_exhausted": "panic"}),
            "unknown variant `panic`, expected one of `last-resort`, `fail`, `wait`, `fail-open`",
        ),
        (
            json!({"last_answer": "yes"}),
            r#"last_answer: must be true or false, got "yes""#,
        ),
        (
            json!({"attempts": 2}),
            "unknown field `attempts`, expected one of \
             `deadline`, `max_attempts`, `last_answer`, `when_exhausted`",
        ),
        (
            json!("60s"),
            r#"invalid type: string "60s", expected a table of a chain's options"#,
        ),
    ] {
        assert_eq!(refusal(&given), said);
    }
}

#[test]
fn options_come_back_from_json_and_toml() {
    assert_eq!(json!(ChainOptions::default()), json!({}));
    for exhausted in [
        Exhausted::LastResort,
        Exhausted::Fail,
        Exhausted::FailOpen,
        Exhausted::Wait(Duration::from_millis(1_500)),
    ] {
        let written = json!({
            "deadline": "1m", "max_attempts": 3, "last_answer": true, "when_exhausted": exhausted,
        });
        let read = options(written.clone());
        assert_eq!(json!(read), written);
        let toml = toml::to_string(&read).unwrap();
        assert_eq!(toml::from_str::<ChainOptions>(&toml).unwrap(), read);
    }
    assert_eq!(json!(Exhausted::Wait(secs(5))), json!({"wait": "5s"}));
}
