//! The same streams as seen by the `openai` client for Python and by the breaker of a proxy.

use std::{path::Path, time::Duration};

use openai::{
    Act::{self, Event, Pause},
    Answer, Proxy, Python, Upstream,
};
use tokio::time::{sleep, timeout};
use tower_health::{Backoff, Cause, HealthCache, Policy, Provider, State, Throttle, Transitions};

const MOMENT: Duration = Duration::from_millis(50);
const A_WHILE: Duration = Duration::from_millis(500);
const HEL: Act = Event(
    r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"any","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}"#,
);
const LO: Act = Event(
    r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"any","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}"#,
);
const DONE: Act = Event("[DONE]");
const ERROR: Act =
    Event(r#"{"error":{"message":"The server had an error","type":"server_error","code":null}}"#);
const THROTTLE: Act = Event(
    r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded","retry_after":40}}"#,
);

macro_rules! python {
    () => {
        match Python::find(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
            Some(python) => python,
            None => return,
        }
    };
}

struct Guarded {
    provider: Provider,
    transitions: Transitions,
    _cache: HealthCache,
}

fn guarded() -> Guarded {
    let policy = Policy::new()
        .backoff(Backoff::constant(MOMENT))
        .throttle(Throttle::default().jitter(0.0));
    let cache = HealthCache::new(policy);
    Guarded {
        provider: cache.provider("openai"),
        transitions: cache.subscribe(),
        _cache: cache,
    }
}

/// A half-open breaker, whose next call is a trial.
async fn half_open() -> Guarded {
    let mut guarded = guarded();
    for _ in 0..2 {
        guarded.provider.mark_unhealthy("down");
    }
    sleep(2 * MOMENT).await;
    assert_eq!(guarded.provider.health().state, State::HalfOpen);
    assert_eq!(guarded.next().await, (State::Open, Some(Cause::Failures)));
    assert_eq!(guarded.next().await.0, State::HalfOpen);
    guarded
}

impl Guarded {
    async fn next(&mut self) -> (State, Option<Cause>) {
        let next = timeout(Duration::from_secs(5), self.transitions.recv()).await;
        let next = next.expect("it changes").expect("the cache is there");
        (next.to, next.cause)
    }

    fn failures(&self) -> u32 {
        self.provider.health().consecutive_failures
    }
}

fn answer(text: &str, error: Option<&str>) -> Answer {
    Answer {
        text: text.to_owned(),
        error: error.map(str::to_owned),
    }
}

#[tokio::test]
async fn client_that_stops_at_done_closes_a_half_open_breaker() {
    let python = python!();
    // The upstream keeps the stream open after the last event.
    let upstream = Upstream::start(&[HEL, LO, DONE, Pause(A_WHILE)]).await;
    let mut guarded = half_open().await;
    let proxy = Proxy::start(guarded.provider.clone(), &upstream).await;

    assert_eq!(python.stream(&proxy).await, answer("Hello", None));
    assert_eq!(guarded.next().await.0, State::Closed);
    assert_eq!(guarded.failures(), 0);
}

#[tokio::test]
async fn error_event_in_the_middle_is_a_failure() {
    let python = python!();
    let upstream = Upstream::start(&[HEL, Pause(MOMENT), ERROR, DONE]).await;
    let mut guarded = guarded();
    let proxy = Proxy::start(guarded.provider.clone(), &upstream).await;

    assert_eq!(python.stream(&proxy).await, answer("Hel", Some("APIError")));
    assert_eq!(guarded.failures(), 1);
    let error = guarded.provider.health().last_error;
    assert_eq!(
        error.expect("it failed").as_str(),
        "The server had an error"
    );

    python.stream(&proxy).await;
    assert_eq!(guarded.next().await, (State::Open, Some(Cause::Failures)));
}

#[tokio::test]
async fn compressed_stream_passes_and_closes_a_half_open_breaker() {
    let python = python!();
    let upstream = Upstream::start_compressing(&[HEL, LO, DONE]).await;
    let mut guarded = half_open().await;
    let proxy = Proxy::start(guarded.provider.clone(), &upstream).await;

    assert_eq!(python.stream(&proxy).await, answer("Hello", None));
    assert!(upstream.has_compressed(), "the client accepts gzip");
    assert_eq!(guarded.next().await.0, State::Closed);
    assert_eq!(guarded.failures(), 0);
}

#[tokio::test]
async fn throttle_in_the_middle_of_a_body_opens_for_as_long_as_it_names() {
    let python = python!();
    let upstream = Upstream::start(&[HEL, Pause(MOMENT), THROTTLE]).await;
    let mut guarded = guarded();
    let proxy = Proxy::start(guarded.provider.clone(), &upstream).await;

    assert_eq!(python.stream(&proxy).await, answer("Hel", Some("APIError")));
    assert_throttled(&mut guarded).await;
}

#[tokio::test]
async fn throttle_at_the_beginning_of_a_body_is_answered_with_429() {
    let python = python!();
    let upstream = Upstream::start(&[THROTTLE]).await;
    let mut guarded = guarded();
    let proxy = Proxy::start(guarded.provider.clone(), &upstream).await;

    let throttled = answer("", Some("RateLimitError 429"));
    assert_eq!(python.stream(&proxy).await, throttled);
    assert_throttled(&mut guarded).await;
    // The breaker refuses the second call.
    assert_eq!(python.stream(&proxy).await, throttled);
}

async fn assert_throttled(guarded: &mut Guarded) {
    assert_eq!(guarded.next().await, (State::Open, Some(Cause::Throttled)));
    assert_eq!(guarded.failures(), 0);
    let wait = guarded.provider.health().retry_in.expect("it is open");
    let named = Duration::from_secs(20)..=Duration::from_secs(40);
    assert!(named.contains(&wait), "{wait:?}");
}
