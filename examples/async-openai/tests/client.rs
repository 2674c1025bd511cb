//! The answers of async-openai over a chain whose first provider fails, and the records of its breaker.

use std::time::Duration;

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::{OpenAIError, StreamError},
};
use async_openai_client::{
    Condition, Limits, Upstream, ask, client, http_client, question, stream,
};
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tower_health::{
    Cause, HealthCache, Provider, ProviderHealth, State,
    error::{self, NoHealthyProvider},
};

const LIMIT: Duration = Duration::from_secs(1);

/// Provider `groq`, which misbehaves and has failed once, and `openai`, which is healthy.
struct Pair {
    provider: Provider,
    groq: Upstream,
    openai: Upstream,
    client: Client<OpenAIConfig>,
}

impl Pair {
    async fn of(groq: Condition) -> Self {
        Self::of_both(groq, Condition::Well).await
    }

    async fn of_both(groq: Condition, openai: Condition) -> Self {
        let groq = Upstream::start("groq", groq).await.unwrap();
        let openai = Upstream::start("openai", openai).await.unwrap();
        let cache = HealthCache::default();
        let provider = cache.provider("groq");
        provider.mark_unhealthy("a strike");
        let limits = Limits {
            head: LIMIT,
            answer: LIMIT,
            silence: LIMIT,
        };
        let http = http_client().unwrap();
        let endpoints = [groq.endpoint(), openai.endpoint()];
        Self {
            provider,
            client: client(&cache, &http, endpoints, limits),
            groq,
            openai,
        }
    }

    async fn stream(&self) -> (String, Result<(), OpenAIError>) {
        let mut text = String::new();
        let result = stream(&self.client, &mut text).await;
        (text, result)
    }

    #[track_caller]
    fn assert_opened_by(&self, cause: Cause, label: &str) {
        let health = self.provider.health();
        assert_eq!((health.state, health.cause), (State::Open, Some(cause)));
        assert_eq!(health.last_error.unwrap().label(), label);
    }
}

#[tokio::test]
async fn provider_that_is_well_answers_and_gets_its_own_key() {
    let pair = Pair::of(Condition::Well).await;
    assert_eq!(ask(&pair.client).await.unwrap(), "from groq");
    assert_eq!(pair.provider.health().consecutive_failures, 0);
    assert_eq!(pair.groq.authorizations(), ["Bearer key-of-groq"]);
    assert!(pair.openai.authorizations().is_empty());
}

#[tokio::test]
async fn stream_is_a_success_at_its_done() {
    let pair = Pair::of(Condition::Well).await;
    let (text, result) = pair.stream().await;
    result.unwrap();
    assert_eq!(text, "from groq");
    assert_eq!(pair.provider.health().consecutive_failures, 0);
}

#[tokio::test]
async fn fault_before_the_first_token_is_answered_by_the_next_provider() {
    for (condition, cause, of_answer, of_stream) in [
        (Condition::Hangs, Cause::Failures, "timeout", "timeout"),
        (Condition::Fails, Cause::Failures, "500", "500"),
        (Condition::Throttles, Cause::Throttled, "429", "429"),
        (
            Condition::Unpaid,
            Cause::Failures,
            "insufficient_quota",
            "insufficient_quota",
        ),
        (
            Condition::ErrorFirst,
            Cause::Failures,
            "503",
            "server_error",
        ),
    ] {
        let pair = Pair::of(condition).await;
        assert_eq!(ask(&pair.client).await.unwrap(), "from openai");
        pair.assert_opened_by(cause, of_answer);

        let pair = Pair::of(condition).await;
        let (text, result) = pair.stream().await;
        result.unwrap();
        assert_eq!(text, "from openai");
        pair.assert_opened_by(cause, of_stream);
        assert_eq!(pair.groq.authorizations().len(), 1);
        assert_eq!(pair.openai.authorizations(), ["Bearer key-of-openai"]);
    }
}

#[tokio::test]
async fn provider_that_is_open_is_left_alone() {
    let pair = Pair::of(Condition::Fails).await;
    for _ in 0..3 {
        assert_eq!(ask(&pair.client).await.unwrap(), "from openai");
    }
    assert_eq!(pair.groq.authorizations().len(), 1);
}

#[tokio::test]
async fn answer_that_breaks_off_is_answered_by_the_next_provider() {
    let pair = Pair::of(Condition::Breaks).await;
    assert_eq!(ask(&pair.client).await.unwrap(), "from openai");
    pair.assert_opened_by(Cause::Failures, "incomplete");
}

/// Answers of two providers are never spliced.
#[tokio::test]
async fn stream_that_breaks_off_is_the_callers_to_see() {
    let pair = Pair::of(Condition::Breaks).await;
    let (text, result) = pair.stream().await;
    assert_eq!(text, "from ");
    assert_is_stream_error(result);
    pair.assert_opened_by(Cause::Failures, "incomplete");
    assert!(pair.openai.authorizations().is_empty());
}

#[tokio::test]
async fn stream_that_stalls_ends_with_an_error() {
    let pair = Pair::of(Condition::Stalls).await;
    let (text, result) = pair.stream().await;
    assert_eq!(text, "from ");
    assert_is_stream_error(result);
    pair.assert_opened_by(Cause::Failures, "timeout");
}

/// The client accepts such a stream as complete.
#[tokio::test]
async fn stream_without_done_is_a_failure() {
    let pair = Pair::of(Condition::NeverDone).await;
    let (text, result) = pair.stream().await;
    result.unwrap();
    assert_eq!(text, "from groq");
    pair.assert_opened_by(Cause::Failures, "incomplete");
}

#[tokio::test]
async fn caller_who_leaves_a_stream_early_is_neutral() {
    let pair = Pair::of(Condition::Stalls).await;
    let chat = pair.client.chat();
    let mut answer = chat.create_stream(question().unwrap()).await.unwrap();
    let first = answer.next().await.unwrap().unwrap();
    assert_eq!(first.choices[0].delta.content.as_deref(), Some("from "));
    drop(answer);
    // Longer than the idle timeout.
    sleep(2 * LIMIT).await;
    let ProviderHealth {
        state,
        consecutive_failures,
        ..
    } = pair.provider.health();
    assert_eq!((state, consecutive_failures), (State::Closed, 1));
}

#[tokio::test]
async fn error_of_a_chain_that_is_exhausted_can_be_found() {
    let pair = Pair::of_both(Condition::Fails, Condition::Hangs).await;
    let Err(OpenAIError::Boxed(error)) = ask(&pair.client).await else {
        panic!("both are down");
    };
    let exhausted = error::find::<NoHealthyProvider>(&*error).unwrap();
    let reasons = exhausted.attempts.iter().map(|it| it.reason.label());
    assert_eq!(reasons.collect::<Vec<_>>(), ["500", "timeout"]);
}

#[track_caller]
fn assert_is_stream_error(result: Result<(), OpenAIError>) {
    let Err(OpenAIError::StreamError(error)) = result else {
        panic!("{result:?}");
    };
    assert!(matches!(*error, StreamError::EventStream(_)), "{error:?}");
}
