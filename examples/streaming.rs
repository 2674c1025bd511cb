//! Falls back when a stream of server-sent events fails before its first token.
//!
//! Run with: `cargo run --example streaming`
//!
//! Both providers start with `200 OK`. `PeekLayer` holds a response back until its first token. The first provider sends an error
//! instead, so the chain tries the second. After the first token, `judge_sse` judges each event: a stream that ends without its
//! last event is a failure.

use std::{
    io::{self, Write, stdout},
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Channel, Empty};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, time::sleep};
use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_health::{
    BoxError, FallbackChain, HealthCache, Reason, ServedBy,
    http::{Content, PeekLayer, StatusClassifier, StreamVerdict},
};

type Events = &'static [&'static str];

const BREAKS: Events = &[": hello", "data:", "event: error\ndata: overloaded"];
const SERVES: Events = &[
    ": hello",
    "data: Six",
    "data: times",
    "data: seven.",
    "event: done\ndata:",
];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let first_token = PeekLayer::first_sse_event(|event| match (event.event, event.data) {
        ("error", reason) => Content::broken(Reason::display(reason)),
        (_, "") => Content::NotYet,
        _ => Content::Begun,
    });
    let to_the_last = StatusClassifier::new().judge_sse(|event| match event.event {
        "error" => StreamVerdict::broken(Reason::display(event.data)),
        "done" => StreamVerdict::Done,
        _ => StreamVerdict::Continue,
    });

    let cache = HealthCache::default();
    let mut chain = FallbackChain::new().advance(to_the_last);
    for (name, events) in [("first", BREAKS), ("second", SERVES)] {
        let uri = start(events).await?;
        let provider = cache.provider(name);
        let stack = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(3)))
            .layer(first_token.clone())
            .map_request(move |mut request: Request<_>| {
                *request.uri_mut() = uri.clone();
                request
            })
            .service(client.clone());
        chain = chain.guard(provider, stack);
    }

    for _ in 0..3 {
        let request = Request::new(Empty::new());
        let response = chain.ready().await?.call(request).await?;
        if let Some(served_by) = response.extensions().get::<ServedBy>() {
            for attempt in &served_by.attempts {
                println!("{attempt}");
            }
            print!("`{}`:", served_by.provider);
        }
        print_tokens(response.into_body()).await?;
    }
    Ok(())
}

/// Prints each token as it arrives.
async fn print_tokens<B>(mut body: B) -> Result<(), BoxError>
where
    B: hyper::body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let data = frame?.into_data().unwrap_or_default();
        for line in String::from_utf8_lossy(&data).lines() {
            print!("{}", line.strip_prefix("data:").unwrap_or_default());
        }
        stdout().flush()?;
    }
    println!();
    Ok(())
}

/// Starts a provider that answers every request with these events.
async fn start(events: Events) -> io::Result<Uri> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?);
    let answer = move || async move {
        let media_type = [(CONTENT_TYPE, "text/event-stream")];
        (media_type, Body::new(stream(events)))
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(uri.parse().expect("an address is a URI"))
}

fn stream(events: Events) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for event in events {
            sleep(Duration::from_millis(150)).await;
            // Fails if the reader is gone.
            let _ = sender.send_data(format!("{event}\n\n").into()).await;
        }
    });
    body
}
