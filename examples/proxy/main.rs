//! A reverse proxy: axum in front, and two upstreams behind it, in order of preference.
//!
//! Run with: `cargo run --example proxy`
//!
//! It sends requests to itself while the first upstream is healthy, fails, and recovers. Responses are streamed. `/healthz` is the
//! proxy's own endpoint and reports the states of the upstreams.

mod upstream;

use std::{fmt::Write, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, response::Response, routing::get};
use http::{Request, StatusCode, header::HOST, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder, timeout::TimeoutLayer};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, HealthProbe, Policy,
    http::{HttpCheck, PeekLayer, unavailable_response},
};

use crate::upstream::{Upstream, serve, uri};

type HttpRequest = Request<Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let first = Upstream::start("first").await?;
    let second = Upstream::start("second").await?;

    // Shorter than the defaults: open for 60 s, a check every 30 s.
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(Duration::from_secs(1))));
    let mut probe = HealthProbe::new(&cache).interval(Duration::from_millis(200));
    let mut chain = FallbackChain::http();
    let client = Client::builder(TokioExecutor::new()).build_http();
    for upstream in [&first, &second] {
        let provider = cache.provider(upstream.name);
        let address = upstream.address;
        let stack = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(PeekLayer::first_frame())
            .map_request(move |request| addressed_to(address, request))
            .service(client.clone());
        chain = chain.guard(provider, stack);
        let check = HttpCheck::get(client.clone(), uri(address, "/healthz"));
        probe = probe.check_with(upstream.name, check);
    }
    let probe = probe.spawn();
    let transitions = cache.subscribe();
    tokio::spawn(transitions.for_each(|transition| println!("  {transition}")));

    // Request bodies are buffered, up to axum's limit: a second upstream may need them.
    let forwarding = move |head: Parts, body: Bytes| {
        forward(chain.clone(), Request::from_parts(head, Full::new(body)))
    };
    let healthz_route = move || async move { healthz(&cache) };
    let router = Router::new().route("/healthz", get(healthz_route));
    let proxy = serve(router.fallback(forwarding)).await?;

    for (is_healthy, how) in [
        (true, "healthy"),
        (false, "failing"),
        (true, "healthy again"),
    ] {
        println!("\nThe first upstream is {how}.");
        first.set_healthy(is_healthy);
        for path in ["/story", "/story", "/story", "/healthz"] {
            print(proxy, path).await?;
        }
        sleep(Duration::from_millis(500)).await;
    }
    probe.stop().await;
    Ok(())
}

/// Addresses a request to an upstream. In production, also remove the hop-by-hop headers of RFC 9110 §7.6.1.
fn addressed_to(upstream: SocketAddr, mut request: HttpRequest) -> HttpRequest {
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    *request.uri_mut() = uri(upstream, path);
    request.headers_mut().remove(HOST);
    request
}

async fn forward<S, B>(mut chain: S, request: HttpRequest) -> Response
where
    S: Service<HttpRequest, Response = Response<B>, Error = BoxError>,
    B: hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    match chain.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => unavailable_response(&*error).map(Body::new),
    }
}

/// The proxy is healthy while any upstream is.
fn healthz(cache: &HealthCache) -> (StatusCode, String) {
    let providers = cache.snapshot().providers;
    let status = if providers.iter().any(|it| it.healthy) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let rows = providers
        .iter()
        .map(|it| format!("{} is {}", it.id, it.state));
    (status, rows.collect::<Vec<_>>().join(", "))
}

/// Sends a request to the proxy, and prints each part of the response with its time of arrival.
async fn print(proxy: SocketAddr, path: &str) -> Result<(), BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let start = Instant::now();
    let mut response = client.get(uri(proxy, path)).await?;
    let mut line = format!("{path}: {}:", response.status().as_u16());
    while let Some(frame) = response.frame().await {
        let data = frame?.into_data().unwrap_or_default();
        let text = String::from_utf8_lossy(&data);
        write!(line, " {text} ({} ms)", start.elapsed().as_millis())?;
    }
    println!("{line}");
    Ok(())
}
