//! Chains in the JSON and in the events: which provider serves, and which were passed by.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_health::{
    BoxError, ErrorsAsFailures, Exhausted, FallbackChain, Health, HealthCache, HealthLayer,
    Override, Policy, Reason, Trip, status::StatusService,
};

use crate::{HOUR, cache, events::Reader, get, json};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The ids of the providers that fail.
type Request = &'static [&'static str];
type Ask = BoxCloneSyncService<Request, &'static str, BoxError>;
type Chain = FallbackChain<Health<Ask, ErrorsAsFailures>, Request>;

/// A chain of providers that answer with their ids.
fn chain<const LENGTH: usize>(cache: &HealthCache, ids: [&'static str; LENGTH]) -> Chain {
    ids.into_iter().fold(FallbackChain::new(), |chain, id| {
        let ask = service_fn(move |down: Request| async move {
            if down.contains(&id) {
                Err(BoxError::from(Failed))
            } else {
                Ok(id)
            }
        });
        chain.guard(cache.provider(id), BoxCloneSyncService::new(ask))
    })
}

#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no route to 10.0.0.7")
    }
}

impl std::error::Error for Failed {}

/// A cache whose breakers do not trip.
fn patient() -> HealthCache {
    HealthCache::new(Policy::new().trip(Trip::consecutive(1_000)))
}

async fn chains(service: &StatusService) -> Value {
    json(get(service, "/chains.json").await).await["chains"].take()
}

#[tokio::test(start_paused = true)]
async fn json_has_who_serves_and_who_was_passed_by() {
    let cache = cache();
    let chain = chain(&cache, ["groq", "openai"]).named("chat");
    let service = StatusService::new(&cache);
    let all = json(get(&service, "/chains.json").await).await;
    let nothing_yet = json!({
        "version": 1,
        "period_seconds": 300,
        "chains": [{
            "name": "chat", "serving": null, "served_seconds_ago": null, "unserved": 0,
            "entries": [
                {"provider": "groq", "passed_by": {}},
                {"provider": "openai", "passed_by": {}},
            ],
        }],
    });
    assert_eq!(all, nothing_yet);

    let ask = |down: Request| chain.clone().oneshot(down);
    assert_eq!(ask(&[]).await.unwrap(), "groq");
    assert_eq!(chains(&service).await[0]["serving"], "groq");
    assert_eq!(ask(&["groq"]).await.unwrap(), "openai");
    assert_eq!(ask(&[]).await.unwrap(), "openai", "the breaker is open");
    assert_eq!(ask(&[]).await.unwrap(), "openai");
    advance(secs(7)).await;
    let now = json!([{
        "name": "chat", "serving": "openai", "served_seconds_ago": 7.0, "unserved": 0,
        "entries": [
            {"provider": "groq", "passed_by": {"error": 1, "circuit open": 2}},
            {"provider": "openai", "passed_by": {}},
        ],
    }]);
    assert_eq!(chains(&service).await, now);
}

#[tokio::test(start_paused = true)]
async fn counts_cover_five_minutes() {
    let cache = patient();
    let chain = chain(&cache, ["groq", "openai"]).named("chat");
    let service = StatusService::new(&cache);
    let passed_by = async || {
        let chains = chains(&service).await;
        chains[0]["entries"][0]["passed_by"]["error"].as_u64()
    };
    for _ in 0..60 {
        chain.clone().oneshot(&["groq"]).await.unwrap();
        advance(secs(5)).await;
    }
    assert_eq!(
        passed_by().await,
        Some(58),
        "the first 10 s have left the period"
    );
    advance(secs(150)).await;
    assert_eq!(passed_by().await, Some(28));
    advance(secs(150)).await;
    assert_eq!(passed_by().await, None);
    let chains = chains(&service).await;
    assert_eq!(chains[0]["serving"], "openai", "it was the last to serve");
    assert_eq!(chains[0]["served_seconds_ago"], 305.0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_nobody_served_are_counted() {
    let cache = patient();
    let chain = chain(&cache, ["groq", "openai"]).named("chat");
    let service = StatusService::new(&cache);
    chain
        .clone()
        .oneshot(&["groq", "openai"])
        .await
        .unwrap_err();
    let hanging = FallbackChain::new()
        .guard(cache.provider("slow"), service_fn(|(): ()| sleep_long()))
        .deadline(secs(3))
        .named("late");
    hanging.clone().oneshot(()).await.unwrap_err();
    let both = chains(&service).await;
    let unserved = |chain: &Value| chain["unserved"].as_u64();
    assert_eq!([unserved(&both[0]), unserved(&both[1])], [Some(1); 2]);
    let passed_by = |entry: usize| &both[0]["entries"][entry]["passed_by"];
    assert_eq!([passed_by(0), passed_by(1)], [&json!({"error": 1}); 2]);
    let late = json!({"deadline exceeded": 1});
    assert_eq!(both[1]["entries"][0]["passed_by"], late);
    assert_eq!(both[0]["serving"], Value::Null);
}

async fn sleep_long() -> Result<(), BoxError> {
    sleep(HOUR).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn entry_that_serves_at_its_second_try_is_not_passed_by() {
    let cache = cache();
    let chain = chain(&cache, ["groq", "openai"]).named("chat");
    let service = StatusService::new(&cache);
    for id in ["groq", "openai"] {
        cache.provider(id).mark_unhealthy("down");
    }
    assert_eq!(
        chain.clone().oneshot(&[]).await.unwrap(),
        "groq",
        "by a granted trial"
    );
    let chain = &chains(&service).await[0];
    assert_eq!(chain["serving"], "groq");
    assert_eq!(chain["entries"][0]["passed_by"], json!({}));
    let refused = json!({"circuit open": 1});
    assert_eq!(chain["entries"][1]["passed_by"], refused);
}

#[tokio::test(start_paused = true)]
async fn entry_that_fails_its_second_try_counts_once() {
    let cache = cache();
    let chain = chain(&cache, ["groq"]).named("chat");
    let service = StatusService::new(&cache);
    cache.provider("groq").mark_unhealthy("down");
    chain.clone().oneshot(&["groq"]).await.unwrap_err();
    let chain = &chains(&service).await[0];
    assert_eq!(chain["entries"][0]["passed_by"], json!({"error": 1}));
}

#[tokio::test(start_paused = true)]
async fn skipped_entries_and_returned_errors_are_told_apart() {
    let cache = cache();
    let provider = |id: &str| cache.provider(id);
    let ask = || service_fn(|ok: bool| async move { if ok { Ok(()) } else { Err("no") } });
    let chain = FallbackChain::new()
        .guard_if(provider("small"), ask(), |_: &bool| false)
        .guard(provider("large"), ask())
        .advance_when(|_| false)
        .when_exhausted(Exhausted::Fail)
        .named("chat");
    let service = StatusService::new(&cache);
    chain.clone().oneshot(false).await.unwrap_err();
    let shown = &chains(&service).await[0];
    assert_eq!(shown["serving"], "large", "its error was returned");
    assert_eq!(shown["unserved"], 0);
    let skipped = json!({"not eligible": 1});
    assert_eq!(shown["entries"][0]["passed_by"], skipped);
}

#[tokio::test(start_paused = true)]
async fn last_answer_is_not_a_served_request() {
    let cache = patient();
    let chain = FallbackChain::new()
        .guard(
            cache.provider("a"),
            service_fn(|(): ()| async { Ok::<_, BoxError>("") }),
        )
        .advance_when(|result| result.map_or(true, |answer| answer.is_empty()))
        .last_answer(true)
        .named("chat");
    let service = StatusService::new(&cache);
    assert_eq!(chain.clone().oneshot(()).await.unwrap(), "");
    let shown = &chains(&service).await[0];
    assert_eq!(
        (&shown["serving"], &shown["unserved"]),
        (&Value::Null, &1.into())
    );
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn request_that_cannot_be_sent_twice_is_not_served() {
    use http_body_util::Empty;
    use reqwest::{Body, Method};

    let cache = cache();
    let ask = || service_fn(|_: reqwest::Request| async { Err::<reqwest::Response, _>("down") });
    let chain = FallbackChain::reqwest()
        .guard(cache.provider("a"), ask())
        .guard(cache.provider("b"), ask())
        .named("chat");
    let mut request = reqwest::Request::new(Method::POST, "http://a/".parse().unwrap());
    *request.body_mut() = Some(Body::wrap(Empty::<bytes::Bytes>::new()));
    chain.clone().oneshot(request).await.unwrap_err();
    let service = StatusService::new(&cache);
    assert_eq!(chains(&service).await[0]["unserved"], 1);
}

/// Labels come from an application, so there may be any number of them.
#[tokio::test(start_paused = true)]
async fn reasons_beyond_the_limit_are_counted_together() {
    let cache = patient();
    let ask = |number: u32| async move { Err::<(), _>(BoxError::from(Numbered(number))) };
    let chain = FallbackChain::new()
        .guard(cache.provider("a"), service_fn(ask))
        .advance(ByNumber)
        .named("chat");
    let service = StatusService::new(&cache);
    for number in 0..1_000 {
        chain.clone().oneshot(number).await.unwrap_err();
    }
    chain.clone().oneshot(0).await.unwrap_err();
    let shown = &chains(&service).await[0];
    let reasons = shown["entries"][0]["passed_by"].as_object().unwrap();
    assert_eq!(reasons.len(), 17);
    assert_eq!([&reasons["number 0"], &reasons["other"]], [2, 984]);
    assert_eq!(shown["unserved"], 1_001);

    advance(secs(300)).await;
    chain.clone().oneshot(5_000).await.unwrap_err();
    let shown = &chains(&service).await[0];
    let later = json!({"number 5000": 1});
    assert_eq!(shown["entries"][0]["passed_by"], later);
}

#[derive(Debug)]
struct Numbered(u32);

impl std::fmt::Display for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "number {}", self.0)
    }
}

impl std::error::Error for Numbered {}

#[derive(Clone)]
struct ByNumber;

impl<Res> tower_health::Advance<Res> for ByNumber {
    fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason> {
        let error = result.err()?;
        Some(Reason::labelled(error, ""))
    }
}

#[tokio::test(start_paused = true)]
async fn events_have_the_same() {
    let cache = cache();
    let chain = chain(&cache, ["groq", "openai"]).named("chat");
    let service = StatusService::new(&cache);
    chain.clone().oneshot(&["groq"]).await.unwrap();
    let frame = Reader::of(&service).await.next().await;
    let expected = json(get(&service, "/chains.json").await).await;
    assert_eq!(frame.data("chains"), expected);
}

#[tokio::test(start_paused = true)]
async fn chain_is_shown_from_its_name_to_its_end() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let nameless = chain(&cache, ["groq"]);
    assert_eq!(chains(&service).await, json!([]));
    let named = nameless.named("chat");
    let clone = named.clone();
    drop(named);
    assert_eq!(chains(&service).await[0]["name"], "chat");
    drop(clone);
    assert_eq!(chains(&service).await, json!([]));
}

#[tokio::test(start_paused = true)]
async fn name_may_come_before_the_entries() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let one = chain(&cache, ["groq"]).named("chat");
    let two = chain(&cache, ["groq", "openai"]);
    let ask = service_fn(|_: Request| async { Ok("openai") });
    let later = one.entry(cache.provider("openai"), {
        let layer = HealthLayer::new(cache.provider("openai"));
        layer.layer(BoxCloneSyncService::new(ask))
    });
    let shown = chains(&service).await;
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["entries"][1]["provider"], "openai");
    drop((two, later));
}

/// After a reload, requests in flight keep the old chain alive.
#[tokio::test(start_paused = true)]
async fn later_chain_replaces_one_of_its_name() {
    let cache = cache();
    let service = StatusService::new(&cache);
    let old = chain(&cache, ["groq"]).named("chat");
    let other = chain(&cache, ["groq"]).named("batch");
    let new = chain(&cache, ["openai"]).named("chat");
    new.clone().oneshot(&[]).await.unwrap();
    let shown = chains(&service).await;
    let names: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["batch", "chat"]);
    assert_eq!(shown[1]["serving"], "openai");
    drop((old, other));
}

#[tokio::test(start_paused = true)]
async fn chain_is_shown_by_the_caches_of_its_providers() {
    let caches = [cache(), cache(), cache()];
    let services = caches.each_ref().map(StatusService::new);
    let ask = || service_fn(|(): ()| async { Ok::<_, BoxError>(()) });
    let chain = FallbackChain::new()
        .guard(caches[0].provider("a"), ask())
        .guard(caches[0].provider("b"), ask())
        .guard(caches[1].provider("c"), ask())
        .named("chat");
    let shown = [
        chains(&services[0]).await,
        chains(&services[1]).await,
        chains(&services[2]).await,
    ];
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0].as_array().unwrap().len(), 1);
    assert_eq!(shown[2], json!([]));
    chain.oneshot(()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shadow_calls_are_in_the_health() {
    let cache = cache();
    let provider = cache.provider("a");
    provider.mark_unhealthy("down");
    provider.force(Override::Closed, HOUR, "keep trying");
    provider.admit().unwrap().success();
    let service = StatusService::new(&cache);
    let health = json(get(&service, "/health.json").await).await;
    assert_eq!(health["providers"][0]["shadow"]["success"], 1);
}
