//! Three servers, three kinds of outage, and what callers notice: with this crate, and without it.
//!
//! Run with: `cargo run --example failover`
//!
//! Sends HTTP over loopback through one hyper-util client, twenty calls a second through each of two chains. Takes 22 seconds.

mod load;
mod report;
mod upstream;

use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceBuilder, timeout::TimeoutLayer};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, HealthProbe, Policy, http::HttpCheck,
};

use crate::{
    load::Load,
    report::Report,
    upstream::{Mode, Upstream},
};

const TIMEOUT: Duration = Duration::from_millis(300);
const OPEN_FOR: Duration = Duration::from_secs(2);

type HttpClient = Client<HttpConnector, Empty<Bytes>>;
type HttpRequest = Request<Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstreams = [
        Upstream::start("first").await?,
        Upstream::start("second").await?,
        Upstream::start("third").await?,
    ];
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();

    // Shorter than the defaults: open for 60 s, a check every 30 s.
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(OPEN_FOR)));
    let mut probe = HealthProbe::new(&cache)
        .interval(Duration::from_secs(1))
        .timeout(TIMEOUT);
    let mut with_health = FallbackChain::http();
    for upstream in &upstreams {
        let provider = cache.provider(upstream.name);
        let service = call_within_timeout(client.clone(), upstream.uri("/"));
        let check = HttpCheck::get(client.clone(), upstream.uri("/healthz"));
        with_health = with_health.guard(provider, service);
        probe = probe.check_with(upstream.name, check);
    }

    // The same chain and timeouts without breakers: every call tries the first server first.
    let nobody = HealthCache::default();
    let mut without = FallbackChain::http();
    for upstream in &upstreams {
        let service = call_within_timeout(client.clone(), upstream.uri("/"));
        without = without.entry(nobody.provider(upstream.name), service);
    }

    let start = Instant::now();
    let report = Report::new(start, &cache);
    let (with_health, without) = (Load::start(with_health), Load::start(without));
    let timeline = [
        tokio::spawn(report.clone().print_transitions(cache.subscribe())),
        tokio::spawn(report.clone().print_every_second(with_health.calls())),
    ];
    let probe = probe.spawn();

    let at = |second| sleep_until(start + Duration::from_secs(second));
    let [first, second, _third] = &upstreams;
    report.heading("all servers are healthy");
    at(3).await;
    first.set(Mode::Hangs);
    report.heading("first accepts connections but never answers");
    at(8).await;
    second.set(Mode::Unavailable);
    report.heading("second answers 503, too");
    at(12).await;
    second.set(Mode::Throttles);
    report.heading("second answers 429, Retry-After: 2");
    at(16).await;
    first.set(Mode::Serves);
    second.set(Mode::Serves);
    report.heading("first and second are healthy again");
    let healthy_again = Instant::now();
    at(22).await;

    probe.stop().await;
    for task in timeline {
        task.abort();
    }
    report.summary(&with_health.stop(), &without.stop(), healthy_again);
    Ok(())
}

/// Returns a client that sends every request to `upstream`, with a timeout.
fn call_within_timeout(
    client: HttpClient,
    upstream: Uri,
) -> impl Service<HttpRequest, Response = Response<Incoming>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync {
    ServiceBuilder::new()
        .layer(TimeoutLayer::new(TIMEOUT))
        .map_request(move |mut request: HttpRequest| {
            *request.uri_mut() = upstream.clone();
            request
        })
        .service(client)
}
