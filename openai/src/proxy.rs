//! A proxy whose breaker follows streams of chat completions to their last event.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Uri, header::HOST, uri::PathAndQuery},
    response::Response,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt};
use tower_health::{
    HealthLayer, Provider, Reason,
    http::{Content, PeekLayer, SseEvent, StatusClassifier, StreamVerdict, unavailable_response},
};

use crate::{Upstream, serve};

#[derive(Debug)]
pub struct Proxy {
    pub(crate) base_url: String,
}

impl Proxy {
    /// Starts a proxy that guards the upstream as this provider.
    pub async fn start(provider: Provider, upstream: &Upstream) -> Self {
        let address = upstream.address;
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::new(provider).classify(StatusClassifier::new().judge_sse(judge)))
            .layer(PeekLayer::first_sse_event(first).within(Duration::from_secs(10)))
            .map_request(move |mut request: Request| {
                let path = request
                    .uri()
                    .path_and_query()
                    .map_or("/", PathAndQuery::as_str);
                *request.uri_mut() = uri(&format!("http://{address}{path}"));
                request.headers_mut().remove(HOST);
                request
            })
            .service(client);
        let forward = move |request: Request| {
            let call = stack.clone().oneshot(request);
            async {
                let answer: Response = match call.await {
                    Ok(response) => response.map(Body::new),
                    Err(error) => unavailable_response(&*error).map(Body::new),
                };
                answer
            }
        };
        let address = serve(Router::new().fallback(forward)).await;
        Self {
            base_url: format!("http://{address}/v1"),
        }
    }
}

fn uri(text: &str) -> Uri {
    text.parse().expect("an address and a path")
}

/// The meaning of an event for the provider's health.
enum Says {
    LastEvent,
    Error(Reason),
    Throttle(Option<Duration>, Reason),
    Content,
}

impl Says {
    fn of(event: &SseEvent<'_>) -> Self {
        if event.data == "[DONE]" {
            return Self::LastEvent;
        }
        let data: Value = serde_json::from_str(event.data).unwrap_or_default();
        let Some(error) = data.get("error") else {
            return Self::Content;
        };
        let code = error["code"].as_str().unwrap_or("error event");
        let reason = Reason::display(error["message"].as_str().unwrap_or(code));
        if code == "rate_limit_exceeded" {
            let wait = error["retry_after"].as_u64().map(Duration::from_secs);
            Self::Throttle(wait, reason)
        } else {
            Self::Error(reason)
        }
    }
}

/// Judges events before anything is sent on. The proxy can still answer an error itself.
fn first(event: &SseEvent<'_>) -> Content {
    match Says::of(event) {
        Says::LastEvent | Says::Content => Content::Begun,
        Says::Error(reason) => Content::broken(reason),
        Says::Throttle(wait, reason) => Content::throttled(wait, reason),
    }
}

/// Judges events while the stream is sent on.
fn judge(event: &SseEvent<'_>) -> StreamVerdict {
    match Says::of(event) {
        Says::LastEvent => StreamVerdict::Done,
        Says::Content => StreamVerdict::Continue,
        Says::Error(reason) => StreamVerdict::broken(reason),
        Says::Throttle(wait, reason) => StreamVerdict::throttled(wait, reason),
    }
}
