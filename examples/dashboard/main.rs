//! A status page to look at in a browser: six servers, most of them failing, behind a chain under a small load.
//!
//! Run with: `cargo run --example dashboard --all-features`, and open the address that it prints. `-- --help` lists the options.
//!
//! The page shows which provider is down, why, and when it is tried next. Its buttons override that. `/metrics` has the counters.

mod arguments;
mod load;
mod metrics;
mod names;
mod upstream;

use std::{future::pending, time::Duration};

use axum::middleware::from_fn;
use http::Request;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, signal::ctrl_c, time::sleep};
use tower::{ServiceBuilder, timeout::TimeoutLayer};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, HealthProbe, Jitter, Policy,
    http::HttpCheck,
    status::{ControlService, StatusService},
};

use crate::{
    arguments::Arguments,
    upstream::{Behavior, Upstream},
};

type HttpRequest = Request<Empty<Bytes>>;

/// In order of preference. No call reaches the last one: only its check finds that it is down.
const UPSTREAMS: [(&str, Behavior); 6] = [
    ("mistral/large", Behavior::Hangs),
    ("local/vllm", Behavior::Refuses),
    ("groq/llama-3.3-70b", Behavior::Flaps),
    ("openai/gpt-4o", Behavior::Throttles),
    ("anthropic/haiku", Behavior::Serves),
    ("standby/eu-west", Behavior::Fails),
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Arguments { port, run_for } = Arguments::parse()?;
    let listener = listen(port).await?;
    let address = listener.local_addr()?;
    let metrics = metrics::router()?;

    // Shorter than the defaults: open for 60 s, a check every 30 s.
    let first = Duration::from_secs(10);
    let backoff = Backoff::exponential(first, Duration::from_secs(120)).jitter(Jitter::Equal);
    let cache = HealthCache::new(Policy::new().backoff(backoff));

    let client = ServiceBuilder::new()
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build_http());
    let mut chain = FallbackChain::http().named("chat");
    let mut probe = HealthProbe::new(&cache)
        .interval(Duration::from_secs(5))
        .timeout(Duration::from_secs(1));
    for (name, behavior) in UPSTREAMS {
        let upstream = Upstream::start(behavior).await?;
        let provider = cache.provider(name);
        let uri = upstream.uri("/");
        let stack = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_millis(500)))
            .map_request(move |mut request: HttpRequest| {
                *request.uri_mut() = uri.clone();
                request
            })
            .service(client.clone());
        chain = chain.guard(provider, stack);
        let check = HttpCheck::get(client.clone(), upstream.uri("/healthz"));
        probe = probe.check_with(name, check);
    }
    let probe = probe.spawn();
    tokio::spawn(load::generate(chain));

    let status = StatusService::new(&cache)
        .title("LLM gateway")
        .control_at("control");
    let router = metrics
        // Anyone who can reach this port may override health. Put your own authentication around yours.
        .nest_service("/control", ControlService::new(&cache))
        .fallback_service(status.clone())
        .layer(from_fn(move |request, next| {
            names::only_own(address.port(), request, next)
        }));
    println!("http://{address}/");
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            end(run_for).await;
            // Otherwise the shutdown would wait for open pages.
            status.close();
        })
        .await?;

    probe.stop().await;
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener, BoxError> {
    let bound = TcpListener::bind(("127.0.0.1", port)).await;
    bound.map_err(|error| {
        format!("cannot listen on 127.0.0.1:{port}: {error}; choose another with --port").into()
    })
}

/// Waits for Ctrl-C, or until `run_for` has passed.
async fn end(run_for: Option<Duration>) {
    let time_is_over = async {
        match run_for {
            Some(run_for) => sleep(run_for).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        _ = ctrl_c() => {}
    }
}
