//! A chain of three providers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt, timeout::TimeoutLayer, util::BoxCloneSyncService};
use tower_health::{
    Backoff, BoxError, Check, Exhausted, FallbackChain, HealthCache, HealthLayer, HealthProbe,
    Policy, ProbeHandle, Provider, ProviderHealth, State, Throttle, Trials, Trip,
    http::{HttpCheck, PeekLayer, StatusClassifier},
};

use crate::{MILLISECOND, server::Server};

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// The deadline of a call, up to the beginning of its body.
pub(crate) const DEADLINE: Duration = Duration::from_millis(800);
/// The time after which a silent body is a failure.
pub(crate) const IDLE: Duration = Duration::from_millis(500);
/// The timeout of a try, and of a check.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);
/// The time after which a call to `b` counts as a failure.
const SLOW: Duration = Duration::from_millis(300);
const INTERVAL: Duration = Duration::from_millis(250);
const OPEN_AT_MOST: Duration = Duration::from_millis(400);
/// The most that jitter adds to a throttle: a tenth, by default.
const JITTER_AT_MOST: Duration = Duration::from_millis(40);

/// The longest recovery after the chaos: the calls in flight fail, the longest open window ends, and a trial or the next
/// check succeeds. A slow start takes another check.
pub(crate) const RECOVERY: Duration = TIMEOUT
    .saturating_add(OPEN_AT_MOST)
    .saturating_add(JITTER_AT_MOST)
    .saturating_add(INTERVAL)
    .saturating_add(TIMEOUT)
    .saturating_add(INTERVAL)
    .saturating_add(TIMEOUT);

pub(crate) type HttpBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Chain = FallbackChain<Stack, HttpRequest, StatusClassifier>;
type HttpRequest = Request<Empty<Bytes>>;
type HttpClient = Client<HttpConnector, Empty<Bytes>>;
type Stack = BoxCloneSyncService<HttpRequest, Response<HttpBody>, BoxError>;

/// Trials bring `a` back; functional checks bring back the others, which may get no calls. `b` releases waiting calls and
/// starts slowly. `c` has no timeout but the deadline.
pub(crate) fn build(
    servers: &[Server],
    trials: u32,
    exhausted: Exhausted,
) -> (HealthCache, Chain, ProbeHandle) {
    let mut chain = FallbackChain::http()
        .deadline(DEADLINE)
        .when_exhausted(exhausted);
    let policy = Policy::new()
        .backoff(Backoff::exponential(100 * MILLISECOND, OPEN_AT_MOST))
        .trials(Trials::new(trials).pause(50 * MILLISECOND))
        .throttle(Throttle::default().max_wait(OPEN_AT_MOST));
    let gentle = policy
        .clone()
        .trip(Trip::default().slow_call(SLOW))
        .trials(policy.get_trials().clone().slow_start())
        .release_on_open(true);
    let cache = HealthCache::new(policy);
    let _ = cache.provider_with("b", gentle);
    let mut probe = HealthProbe::new(&cache)
        .interval(INTERVAL)
        .timeout(TIMEOUT)
        .jitter(0.0);
    let client: HttpClient = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(8)
        .build_http();
    for (name, server) in NAMES.into_iter().zip(servers) {
        let provider = cache.provider(name);
        let timeout = (name != "c").then_some(TIMEOUT);
        let calls = call_to(client.clone(), server.address(), timeout);
        // A slow start allows more and more trials.
        let most = if name == "b" { 2_048 } else { trials };
        chain = chain.entry(provider.clone(), with_health(&provider, most, calls));

        let uri = uri(server.address(), "/check");
        let check = Check::from(HttpCheck::get(client.clone(), uri).expect([200]));
        let check = if name == "a" {
            check
        } else {
            check.functional()
        };
        probe = probe.check_with(name, check);
    }
    (cache, chain, probe.spawn())
}

/// Wraps `calls` in a health layer, and asserts below it that no more than `trials` trials are in flight.
fn with_health(provider: &Provider, trials: u32, calls: Stack) -> Stack {
    let classifier = StatusClassifier::new().idle_timeout(IDLE);
    let (above, below) = (provider.clone(), provider.clone());
    let slots = Arc::new(Semaphore::new(trials as usize));
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(BodyExt::boxed_unsync))
        .map_request(move |mut request: HttpRequest| {
            request.extensions_mut().insert(above.health());
            request
        })
        .layer(HealthLayer::new(provider.clone()).classify(classifier))
        .service_fn(move |request: HttpRequest| {
            // Only a trial if the breaker was half-open before the layer: a call admitted while closed may arrive late.
            let before: &ProviderHealth = request.extensions().get().unwrap();
            let is_trial = before.state == State::HalfOpen && before.since == below.health().since;
            let slot = is_trial.then(|| {
                let slot = Arc::clone(&slots).try_acquire_owned();
                slot.expect("no more trials in flight than allowed")
            });
            let response = calls.clone().oneshot(request);
            async move {
                let response = response.await;
                drop(slot);
                response
            }
        });
    BoxCloneSyncService::new(stack)
}

fn call_to(client: HttpClient, server: SocketAddr, timeout: Option<Duration>) -> Stack {
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<_>| {
            response.map(|body| BodyExt::map_err(body, BoxError::from).boxed_unsync())
        })
        .option_layer(timeout.map(TimeoutLayer::new))
        .layer(PeekLayer::first_frame())
        .map_request(move |mut request: HttpRequest| {
            *request.uri_mut() = uri(server, request.uri().path());
            request
        })
        .service(client);
    BoxCloneSyncService::new(stack)
}

fn uri(server: SocketAddr, path: &str) -> Uri {
    format!("http://{server}{path}").parse().unwrap()
}
