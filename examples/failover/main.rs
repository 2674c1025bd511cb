//! Three servers, three kinds of outage, and what callers notice: with two policies of this crate, and without it.
//!
//! Run with: `cargo run --example failover`
//!
//! Sends HTTP over loopback through one hyper-util client, twenty calls a second through each of three chains. Takes 22 seconds.

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
    Backoff, BoxError, FallbackChain, HealthCache, HealthProbe, Policy, ProbeHandle,
    http::HttpCheck,
};

use crate::{
    load::{Call, Load},
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

    // A call without an answer after a third of the timeout fails over.
    let failover = Guarded::new(Policy::failover_after(TIMEOUT / 3), &client, &upstreams);
    // Shorter than the default, 60 s.
    let plain = Policy::new().backoff(Backoff::constant(OPEN_FOR));
    let plain = Guarded::new(plain, &client, &upstreams);

    // The same chain and timeouts without breakers: every call tries the first server first.
    let nobody = HealthCache::default();
    let mut without = FallbackChain::http();
    for upstream in &upstreams {
        let service = call_within_timeout(client.clone(), upstream.uri("/"));
        without = without.entry(nobody.provider(upstream.name), service);
    }

    let start = Instant::now();
    let report = Report::new(start, &failover.cache);
    let timeline = [
        tokio::spawn(report.clone().print_transitions(failover.cache.subscribe())),
        tokio::spawn(report.clone().print_every_second(failover.load.calls())),
    ];
    let without = Load::start(without);

    let at = |second| sleep_until(start + Duration::from_secs(second));
    let [first, second, _third] = &upstreams;
    report.heading("all servers are healthy");
    at(3).await;
    first.set(Mode::Hangs);
    report.heading("first accepts connections but never answers");
    let hung = Instant::now();
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

    for task in timeline {
        task.abort();
    }
    let columns = [
        ("failover_after", failover.stop().await),
        ("default trip", plain.stop().await),
        ("without", without.stop()),
    ];
    report::summary(&columns, hung..healthy_again);
    Ok(())
}

/// A load on a chain that is guarded and checked.
struct Guarded {
    cache: HealthCache,
    probe: ProbeHandle,
    load: Load,
}

impl Guarded {
    fn new(policy: Policy, client: &HttpClient, upstreams: &[Upstream]) -> Self {
        let cache = HealthCache::new(policy);
        // The default is a check every 30 s.
        let mut probe = HealthProbe::new(&cache)
            .interval(Duration::from_secs(1))
            .timeout(TIMEOUT);
        let mut chain = FallbackChain::http();
        for upstream in upstreams {
            let provider = cache.provider(upstream.name);
            let service = call_within_timeout(client.clone(), upstream.uri("/"));
            let check = HttpCheck::get(client.clone(), upstream.uri("/healthz"));
            chain = chain.guard(provider, service);
            probe = probe.check_with(upstream.name, check);
        }
        Self {
            cache,
            probe: probe.spawn(),
            load: Load::start(chain),
        }
    }

    async fn stop(self) -> Vec<Call> {
        self.probe.stop().await;
        self.load.stop()
    }
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
