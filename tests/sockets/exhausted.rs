//! No provider is left to serve.

use std::time::Duration;

use tokio::time::Instant;
use tower::{
    Layer, ServiceExt,
    timeout::{TimeoutLayer, error::Elapsed},
};
use tower_health::{
    Cause, Exhausted, HealthCache, Provider, State,
    error::{self, CircuitOpen},
};

use crate::{
    pair::{
        Answer, Chain, HttpRequest, MILLISECOND, PATIENCE, SECOND, Stack, assert_wait_ends, chain,
        client_of, client_of_nobody, entry, exhausted, first_token, get, open_for, shown,
    },
    server::{Script, Server},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Row 46.
#[tokio::test]
async fn an_only_provider_that_is_open_refuses_at_once_and_tells_until_when() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let only = Only::tripped(&a).await;

    let asked = Instant::now();
    let error = only
        .stack
        .oneshot(HttpRequest::default())
        .await
        .unwrap_err();
    let refusal = error::find::<CircuitOpen>(&*error).unwrap();
    assert_wait_ends(Some(refusal.retry_in()), asked, only.opened + MINUTE);
    assert_eq!(refusal.provider(), "a");
    assert_eq!(refusal.state(), State::Open);
    assert_eq!(refusal.cause(), Some(Cause::Failures));
    assert_eq!(*refusal.last_error().unwrap(), "503");

    let asked = Instant::now();
    let chain = only.chain.when_exhausted(Exhausted::Fail);
    let error = get(&chain).await.unwrap_err();
    let exhausted = exhausted(&error);
    assert_wait_ends(exhausted.retry_in, asked, only.opened + MINUTE);
    assert_eq!(shown(&exhausted.attempts), ["a: circuit open"]);

    assert!(only.opened.elapsed() < PATIENCE / 10);
    assert_eq!(a.requests(), 2);
}

/// Row 46.
#[tokio::test]
async fn as_a_last_resort_an_only_provider_is_tried_once() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let only = Only::tripped(&a).await;
    let chain = only.chain.when_exhausted(Exhausted::LastResort);

    for attempts in [&["a: circuit open", "a: 503"][..], &["a: circuit open"]] {
        let error = get(&chain).await.unwrap_err();
        assert_eq!(shown(&exhausted(&error).attempts), attempts);
    }
    assert_eq!(a.requests(), 2 + 1);
}

/// Row 46.
#[tokio::test]
async fn a_last_resort_that_serves_is_back() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let only = Only::tripped(&a).await;
    let chain = only.chain.when_exhausted(Exhausted::LastResort);

    a.becomes(|_| Script::well("a"));
    let served = Answer {
        attempts: vec!["a: circuit open".to_owned()],
        ..Answer::from_a()
    };
    assert_eq!(get(&chain).await.unwrap(), served);
    assert_eq!(only.provider.health().state, State::Closed);
    assert_eq!(get(&chain).await.unwrap(), Answer::from_a());
}

/// Row 47.
#[tokio::test]
async fn a_chain_that_fails_tells_every_attempt_in_order_and_when_to_come_back() {
    let error_event = "event: error\ndata: overloaded\n\n";
    let broken = Server::start(move |_| Script::events().chunk(error_event));
    let silent = Server::start(|_| Script::default().hang());
    let unavailable = Server::start(|_| Script::status("503 Service Unavailable"));
    let skipped = Server::well("nobody");

    let peeking = first_token().layer(client_of(&broken));
    let hurried = TimeoutLayer::new(100 * MILLISECOND).layer(client_of(&silent));
    let cache = HealthCache::default();
    let chain = chain([
        entry(&cache, "refusing", client_of_nobody()),
        entry(&cache, "open", client_of(&skipped)),
        entry(&cache, "broken", peeking),
        entry(&cache, "silent", hurried),
        entry(&cache, "soon back", client_of(&skipped)),
        entry(&cache, "unavailable", client_of(&unavailable)),
    ])
    .when_exhausted(Exhausted::Fail);
    trip(&cache.provider("open"));
    let soon_back = cache.provider_with("soon back", open_for(30 * SECOND));
    trip(&soon_back);

    let asked = Instant::now();
    let error = get(&chain).await.unwrap_err();
    let exhausted = exhausted(&error);

    let expected = [
        "refusing: Connection refused",
        "open: circuit open",
        "broken: overloaded",
        "silent: request timed out",
        "soon back: circuit open",
        "unavailable: 503",
    ];
    assert_eq!(shown(&exhausted.attempts), expected);
    let [_, open, _, silence, soon, _] = &*exhausted.attempts else {
        panic!("{exhausted}");
    };
    assert_eq!([open.elapsed, soon.elapsed], [Duration::ZERO; 2]);
    assert!(silence.elapsed >= 100 * MILLISECOND);
    assert_wait_ends(exhausted.retry_in, asked, opened(&soon_back) + 30 * SECOND);
    assert!(error::find::<Elapsed>(&*error).is_some(), "the last error");
    assert_eq!(skipped.requests(), 0);
}

/// A chain of one provider that has failed twice.
struct Only {
    provider: Provider,
    stack: Stack,
    chain: Chain,
    opened: Instant,
}

impl Only {
    async fn tripped(a: &Server) -> Self {
        let cache = HealthCache::default();
        let (provider, stack) = entry(&cache, "a", client_of(a));
        let chain = chain([(provider.clone(), stack.clone())]);
        for _ in 0..2 {
            let error = get(&chain).await.unwrap_err();
            assert_eq!(shown(&exhausted(&error).attempts), ["a: 503"]);
        }
        Self {
            opened: opened(&provider),
            provider,
            stack,
            chain,
        }
    }
}

fn trip(provider: &Provider) {
    for _ in 0..2 {
        provider.mark_unhealthy("down");
    }
}

#[track_caller]
fn opened(provider: &Provider) -> Instant {
    let health = provider.health();
    assert_eq!(health.state, State::Open);
    health.since.unwrap()
}
