//! A provider on loopback with configurable failures.

use std::{
    fmt,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::Endpoint;

/// The response of a provider to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Answers correctly.
    Well,
    /// Never answers.
    Hangs,
    /// Answers 500.
    Fails,
    /// Answers 429 with a wait of 30 s.
    Throttles,
    /// Answers 429 for an unpaid bill.
    Unpaid,
    /// Sends an error as the first event. Not streamed: answers 503.
    ErrorFirst,
    /// Breaks the connection after half of the answer.
    Breaks,
    /// Omits `[DONE]`. Not streamed: answers correctly.
    NeverDone,
    /// Stalls after the first event. Not streamed: answers correctly.
    Stalls,
}

impl Condition {
    /// All conditions.
    pub const ALL: [Self; 9] = [
        Self::Well,
        Self::Hangs,
        Self::Fails,
        Self::Throttles,
        Self::Unpaid,
        Self::ErrorFirst,
        Self::Breaks,
        Self::NeverDone,
        Self::Stalls,
    ];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Well => "is well",
            Self::Hangs => "hangs",
            Self::Fails => "answers 500",
            Self::Throttles => "answers 429",
            Self::Unpaid => "wants to be paid",
            Self::ErrorFirst => "begins with an error",
            Self::Breaks => "breaks off",
            Self::NeverDone => "omits [DONE]",
            Self::Stalls => "stalls",
        })
    }
}

/// A running provider.
#[derive(Debug)]
pub struct Upstream {
    name: &'static str,
    address: SocketAddr,
    /// The key of each request.
    authorizations: Arc<Mutex<Vec<HeaderValue>>>,
}

impl Upstream {
    /// Starts a provider, which runs until the runtime ends.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(name: &'static str, condition: Condition) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = Self {
            name,
            address: listener.local_addr()?,
            authorizations: Arc::default(),
        };
        let authorizations = Arc::clone(&upstream.authorizations);
        let answer = move |headers: HeaderMap, Json(request): Json<Value>| {
            let mut all = authorizations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.extend(headers.get(AUTHORIZATION).cloned());
            async move { condition.answer(name, request["stream"] == true).await }
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(upstream)
    }

    /// Returns the address and the key for the client.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let base_url = format!("http://{}/v1", self.address);
        let authorization = format!("Bearer key-of-{}", self.name);
        Endpoint {
            name: self.name,
            base_url: base_url.parse().expect("an address is a URL"),
            authorization: authorization.parse().expect("names are ASCII"),
        }
    }

    /// Returns the key of each request so far.
    #[must_use]
    pub fn authorizations(&self) -> Vec<HeaderValue> {
        let all = self.authorizations.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Condition {
    async fn answer(self, name: &str, is_streamed: bool) -> Response {
        match self {
            Self::Hangs => pending().await,
            Self::Fails => (StatusCode::INTERNAL_SERVER_ERROR, "no luck").into_response(),
            Self::Throttles => {
                let wait = [(RETRY_AFTER, "30")];
                let body = error("rate_limit_exceeded", "slow down");
                (StatusCode::TOO_MANY_REQUESTS, wait, Json(body)).into_response()
            }
            Self::Unpaid => {
                let body = error("insufficient_quota", "pay your bill");
                (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
            }
            _ if is_streamed => {
                let (sender, body) = Channel::new(1);
                tokio::spawn(self.stream(name.to_owned(), sender));
                let media_type = [(CONTENT_TYPE, "text/event-stream")];
                (media_type, Body::new(body)).into_response()
            }
            Self::ErrorFirst => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Self::Breaks => {
                let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
                let half = answer(name).to_string().split_off(20);
                tokio::spawn(async move {
                    // The reader may be gone, here and below.
                    let _ = sender.send_data(half.into()).await;
                    break_off(sender).await;
                });
                Body::new(body).into_response()
            }
            Self::Well | Self::NeverDone | Self::Stalls => Json(answer(name)).into_response(),
        }
    }

    async fn stream(self, name: String, mut sender: Sender<Bytes, io::Error>) {
        let mut events = vec![chunk("from "), chunk(&name)];
        match self {
            Self::ErrorFirst => events = vec![error("server_error", "overloaded").to_string()],
            Self::Breaks | Self::Stalls => events.truncate(1),
            Self::NeverDone => {}
            _ => events.push("[DONE]".to_owned()),
        }
        for event in events {
            let event = format!("data: {event}\n\n");
            let _ = sender.send_data(event.into()).await;
        }
        match self {
            Self::Breaks => break_off(sender).await,
            Self::Stalls => pending().await,
            _ => {}
        }
    }
}

/// Breaks the connection after the sent data has arrived.
async fn break_off(sender: Sender<Bytes, io::Error>) {
    sleep(Duration::from_millis(100)).await;
    sender.abort(io::Error::other("broken off"));
}

fn answer(name: &str) -> Value {
    let message = json!({ "role": "assistant", "content": format!("from {name}") });
    json!({
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
    })
}

fn chunk(text: &str) -> String {
    let chunk = json!({
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "small",
        "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
    });
    chunk.to_string()
}

fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": "any", "param": null, "code": code } })
}
