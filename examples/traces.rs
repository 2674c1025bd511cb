//! Exports the spans of a request with OpenTelemetry, and prints them. The first two of three providers fail.
//!
//! Run with: `cargo run --example traces --features tracing`
//!
//! A real program exports to a collector instead of to memory, for example by the crate `opentelemetry-otlp`.

use std::{io, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tokio::time::sleep;
use tower::{Service, ServiceExt, service_fn};
use tower_health::{BoxError, FallbackChain, HealthCache};
use tracing::{Instrument, info_span};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let exporter = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracers.tracer("example"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    tracing_subscriber::registry().with(layer).init();

    let cache = HealthCache::default();
    let mut chain = FallbackChain::new();
    for provider in ["groq", "openai", "local"] {
        let client = service_fn(move |prompt| ask(provider, prompt));
        chain = chain.guard(cache.provider(provider), client);
    }
    let request = async { chain.ready().await?.call("Hello?").await };
    request.instrument(info_span!("request")).await?;

    for span in exporter.get_finished_spans()? {
        let id = span.span_context.span_id();
        println!("{} {id} in {}", span.name, span.parent_span_id);
        for attribute in span.attributes {
            println!("  {} = {}", attribute.key, attribute.value);
        }
    }
    Ok(())
}

async fn ask(provider: &str, _prompt: &str) -> io::Result<()> {
    sleep(Duration::from_millis(10)).await;
    match provider {
        "groq" => Err(io::ErrorKind::ConnectionRefused.into()),
        "openai" => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
