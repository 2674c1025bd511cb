//! Servers that misbehave, each in its own way, behind a chain under a small load: to be looked at in a browser.
//!
//! Run with: `cargo run --example dashboard --all-features`, and open the page that it names. It runs until
//! Ctrl-C, or for `--for 20s`; `--port 8080` changes the port.
//!
//! One look tells which provider is ill, why, and when it is tried next. The buttons overrule that; `/metrics` counts it.

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
    upstream::{Manners, Upstream},
};

type HttpRequest = Request<Empty<Bytes>>;

/// In order of preference. The last one nobody calls: only its check sees that it is ill.
const UPSTREAMS: [(&str, Manners); 6] = [
    ("mistral/large", Manners::Hangs),
    ("local/vllm", Manners::Refuses),
    ("groq/llama-3.3-70b", Manners::Flaps),
    ("openai/gpt-4o", Manners::Throttles),
    ("anthropic/haiku", Manners::Serves),
    ("standby/eu-west", Manners::Fails),
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Arguments { port, lasts } = Arguments::parse()?;
    let metrics = metrics::router()?;

    // Production would keep the defaults: open for 60 s, checked every 30 s.
    let first = Duration::from_secs(10);
    let backoff = Backoff::exponential(first, Duration::from_secs(120)).jitter(Jitter::Equal);
    let cache = HealthCache::new(Policy::new().backoff(backoff));

    let client = ServiceBuilder::new()
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build_http());
    let mut chain = FallbackChain::http();
    let mut probe = HealthProbe::new(&cache)
        .interval(Duration::from_secs(5))
        .timeout(Duration::from_secs(1));
    for (name, manners) in UPSTREAMS {
        let upstream = Upstream::start(manners).await?;
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
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let router = metrics
        // Whoever reaches this port by its own names may overrule. Yours would be behind your own authentication.
        .nest_service("/control", ControlService::new(&cache))
        .fallback_service(status.clone())
        .layer(from_fn(move |request, next| {
            names::only_own(address.port(), request, next)
        }));
    println!("http://{address}/");
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            ended(lasts).await;
            // Open pages would keep it waiting.
            status.close();
        })
        .await?;

    probe.stop().await;
    Ok(())
}

async fn ended(lasts: Option<Duration>) {
    let time_is_over = async {
        match lasts {
            Some(lasts) => sleep(lasts).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = time_is_over => {}
        _ = ctrl_c() => {}
    }
}
