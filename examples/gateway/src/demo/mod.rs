//! Shows the answers to a client, and the records of the breakers, while providers fail. Runs without a network.

mod client;
mod upstream;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tower_health::{BoxError, HealthCache};

pub use self::{
    client::{Answer, ask},
    upstream::{Behavior, Upstream},
};
use crate::{Gateway, serve};

const CONFIG: &str = include_str!("demo.toml");

const SCENES: [(&str, Behavior); 11] = [
    ("serves", Behavior::Serves),
    ("hangs", Behavior::Hangs),
    ("answers 500", Behavior::Fails(500, "server_error")),
    ("answers 429, Retry-After: 2", Behavior::Throttles(2)),
    ("refuses the key", Behavior::Fails(401, "invalid_api_key")),
    (
        "has no quota left",
        Behavior::Fails(429, "insufficient_quota"),
    ),
    ("begins with an error event", Behavior::BeginsWithError),
    ("turns to an error event", Behavior::TurnsToError),
    ("breaks off", Behavior::BreaksOff),
    ("ends without [DONE]", Behavior::EndsEarly),
    ("falls silent", Behavior::FallsSilent),
];

/// Prints a table: two requests for each failure of the first of three providers, then one to providers that all fail.
///
/// # Errors
///
/// If loopback fails.
pub async fn run() -> Result<(), BoxError> {
    let mut upstreams = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        upstreams.push(Upstream::start(name).await?);
    }
    let config = upstreams
        .iter()
        .fold(CONFIG.to_owned(), |config, upstream| {
            config.replace(&format!("http://{}", upstream.name()), &upstream.base_url())
        });
    let gateway = Gateway::new(&config.parse()?, None)?;
    let url = start(&gateway).await?;

    println!(
        "{:<28} {:<36} {:<12} {:>8}  breakers",
        "`alpha`", "the client gets", "from", "after"
    );
    for (name, behavior) in SCENES {
        upstreams[0].now(behavior);
        for name in [name, ""] {
            print(name, &ask(&url, "chat").await?, &gateway.cache);
        }
        reset(&gateway.cache);
    }
    for upstream in &upstreams {
        upstream.now(Behavior::Fails(503, "overloaded"));
    }
    for name in ["all answer 503", ""] {
        print(name, &ask(&url, "chat").await?, &gateway.cache);
    }
    upstreams[2].now(Behavior::Serves);
    // Each request is a trial of one provider.
    for name in ["`gamma` serves again", "", ""] {
        print(name, &ask(&url, "chat").await?, &gateway.cache);
    }
    Ok(())
}

/// Serves on loopback until the runtime ends. Returns the base URL.
///
/// # Errors
///
/// If no port is free.
pub async fn start(gateway: &Arc<Gateway>) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    tokio::spawn(serve(
        Arc::clone(gateway),
        listener,
        metrics,
        std::future::pending(),
    ));
    Ok(url)
}

fn print(name: &str, answer: &Answer, cache: &HealthCache) {
    let after = format!("{} ms", answer.after.as_millis());
    let Answer {
        text, served_by, ..
    } = answer;
    println!(
        "{name:<28} {text:<36} {served_by:<12} {after:>8}  {}",
        recorded(cache)
    );
}

/// Formats the breakers that have recorded an error.
fn recorded(cache: &HealthCache) -> String {
    let providers = cache.snapshot().providers.into_iter();
    let noted = providers.filter(|it| it.last_error.is_some() || !it.healthy);
    let lines = noted.map(|it| {
        let error = it.last_error.as_ref().map_or("", |it| it.label());
        format!("{} {} ({error})", it.id, it.state)
    });
    lines.collect::<Vec<_>>().join(", ")
}

fn reset(cache: &HealthCache) {
    for health in cache.snapshot().providers {
        cache.provider(health.id).mark_healthy();
    }
}
