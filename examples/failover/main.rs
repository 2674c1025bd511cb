//! Three servers, an outage of each kind, and what the callers notice of it: with health kept, and without.
//!
//! Run with: `cargo run --example failover`
//!
//! Everything is real: HTTP over loopback, one hyper-util client, twenty calls a second through each
//! of two chains. It takes 22 seconds.

mod load;
mod report;
mod upstream;

use std::time::Duration;

use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Service, ServiceBuilder, timeout::TimeoutLayer};
use tower_health::{
    Backoff, BoxError, Check, FallbackChain, HealthCache, HealthLayer, HealthProbe, Policy,
    http::{HttpCheck, StatusClassifier},
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
        Upstream::start("east").await?,
        Upstream::start("west").await?,
        Upstream::start("north").await?,
    ];
    let [east, west, _north] = &upstreams;
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();

    // Production would keep the defaults: open for 60 s, probed every 30 s.
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(OPEN_FOR)));
    let mut guarded = FallbackChain::http();
    let mut probe = HealthProbe::new(&cache)
        .interval(Duration::from_secs(1))
        .timeout(TIMEOUT);
    for upstream in &upstreams {
        let provider = cache.provider(upstream.name);
        let service = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .service(with_timeout(&client, upstream));
        guarded = guarded.entry(provider, service);
        probe = probe.check_with(
            upstream.name,
            HttpCheck::get(client.clone(), upstream.uri("/healthz")),
        );
    }

    // The same chain and the same timeouts, but nobody remembers who is down.
    let nobody = HealthCache::default();
    let mut bare = FallbackChain::http();
    for upstream in &upstreams {
        bare = bare.entry(
            nobody.provider(upstream.name),
            with_timeout(&client, upstream),
        );
    }

    let start = Instant::now();
    let report = Report::new(start, &cache, &upstreams);
    let transitions = tokio::spawn(report.clone().print_transitions(cache.subscribe()));
    let probe = probe.spawn();
    let with_health = Load::start(guarded);
    let without = Load::start(bare);
    let ticker = tokio::spawn(report.clone().print_every_second(with_health.calls()));

    let at = |second| sleep_until(start + Duration::from_secs(second));
    report.heading("all three are well");
    at(3).await;
    east.set(Mode::Hangs);
    report.heading("east accepts connections and never answers");
    at(8).await;
    west.set(Mode::Unavailable);
    report.heading("west answers 503");
    at(12).await;
    west.set(Mode::Throttles);
    report.heading("west answers 429, Retry-After: 2");
    at(16).await;
    east.set(Mode::Serves);
    west.set(Mode::Serves);
    report.heading("both are well again");
    let recovered_at = Instant::now();
    at(22).await;

    let (with_health, without) = (with_health.stop(), without.stop());
    probe.stop().await;
    ticker.abort();
    transitions.abort();
    sleep(Duration::from_millis(10)).await;
    report.summary(&with_health, &without, recovered_at);
    Ok(())
}
