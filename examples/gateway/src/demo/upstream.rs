//! A provider on loopback with configurable failures.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

/// The response of a provider to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Answers.
    Serves,
    /// Never answers.
    Hangs,
    /// Answers with this status and the code of an error.
    Fails(u16, &'static str),
    /// Answers with 429 and a `Retry-After` in seconds.
    Throttles(u64),
    /// Begins a stream with an error event.
    BeginsWithError,
    /// Sends an error event after some tokens.
    TurnsToError,
    /// Breaks the connection after some tokens.
    BreaksOff,
    /// Ends a stream without `[DONE]`.
    EndsEarly,
    /// Stalls after some tokens.
    FallsSilent,
}

/// A provider.
#[derive(Clone, Debug)]
pub struct Upstream {
    name: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    behavior: Behavior,
    requests: Vec<(HeaderMap, Bytes)>,
}

impl Upstream {
    /// Starts a provider that serves.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let state = State {
            behavior: Behavior::Serves,
            requests: Vec::new(),
        };
        let upstream = Self {
            name,
            address: listener.local_addr()?,
            state: Arc::new(Mutex::new(state)),
        };
        let answering = upstream.clone();
        let answer =
            any(move |headers: HeaderMap, body: Bytes| answering.clone().answer(headers, body));
        let router = Router::new()
            .route("/v1/chat/completions", answer.clone())
            .route("/v1/completions", answer.clone())
            .route("/v1/embeddings", answer.clone())
            .route("/v1/models", answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(upstream)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Sets the behavior for calls from now on.
    pub fn now(&self, behavior: Behavior) {
        self.state().behavior = behavior;
    }

    /// Returns the calls so far.
    #[must_use]
    pub fn requests(&self) -> Vec<(HeaderMap, Bytes)> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self, headers: HeaderMap, body: Bytes) -> Response {
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.state().requests.push((headers, body));
        let behavior = self.state().behavior;
        match behavior {
            Behavior::Hangs => pending().await,
            Behavior::Fails(status, code) => {
                let status = StatusCode::from_u16(status).unwrap_or_default();
                (status, Json(self.error(code))).into_response()
            }
            Behavior::Throttles(seconds) => {
                let head = (
                    StatusCode::TOO_MANY_REQUESTS,
                    [(RETRY_AFTER, seconds.to_string())],
                );
                (head.0, head.1, Json(self.error("rate_limit_exceeded"))).into_response()
            }
            _ => self.begin(behavior, &request),
        }
    }

    /// The body of an error. It names the provider's account, as real ones do.
    fn error(&self, code: &str) -> Value {
        let message = format!("{} of organization org-secret", self.name);
        json!({"error": {"message": message, "type": "error", "param": null, "code": code}})
    }

    fn begin(self, behavior: Behavior, request: &Value) -> Response {
        let is_stream = request["stream"] == true;
        let (sender, body) = Channel::new(1);
        let media_type = if is_stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        let deltas = self.deltas(request["tools"].is_array());
        let parts = if is_stream {
            self.events(behavior, deltas)
        } else {
            halves(&deltas)
        };
        tokio::spawn(send(parts, behavior, sender));
        ([(CONTENT_TYPE, media_type)], Body::new(body)).into_response()
    }

    /// The tokens of an answer, or of a tool call.
    fn deltas(&self, is_tool_call: bool) -> [Value; 3] {
        if !is_tool_call {
            return ["Hello ", "from ", self.name].map(|word| json!({"content": word}));
        }
        let part = |function: Value| json!({"tool_calls": [{"index": 0, "function": function}]});
        let name = json!({"name": "weather", "arguments": ""});
        let call = json!({"index": 0, "id": "1", "type": "function", "function": name});
        [
            json!({"tool_calls": [call]}),
            part(json!({"arguments": "{\"city\":"})),
            part(json!({"arguments": "\"Oslo\"}"})),
        ]
    }

    fn events(&self, behavior: Behavior, deltas: [Value; 3]) -> Vec<String> {
        let chunk = |delta: Value, finish_reason: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
            json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
        };
        let role = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
        let mut events = vec![role];
        if behavior != Behavior::BeginsWithError {
            events.extend(deltas.map(|delta| chunk(delta, Value::Null)));
        }
        match behavior {
            Behavior::BeginsWithError | Behavior::TurnsToError => {
                events.push(self.error("server_error"));
            }
            Behavior::Serves | Behavior::EndsEarly => events.push(chunk(json!({}), "stop".into())),
            _ => {}
        }
        let mut events: Vec<_> = events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect();
        if behavior == Behavior::Serves {
            events.push("data: [DONE]\n\n".into());
        }
        events
    }
}

/// The two halves of an answer that is not streamed.
fn halves(deltas: &[Value; 3]) -> Vec<String> {
    let text = |delta: &Value| delta["content"].as_str().unwrap_or_default().to_owned();
    let mut message =
        json!({"role": "assistant", "content": deltas.iter().map(text).collect::<String>()});
    if deltas[0]["tool_calls"].is_array() {
        let mut call = deltas[0]["tool_calls"][0].clone();
        call["function"]["arguments"] = "{\"city\":\"Oslo\"}".into();
        message["tool_calls"] = [call].into_iter().collect();
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let answer = json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]});
    let text = answer.to_string();
    let (one, other) = text.split_at(text.len() / 2);
    vec![one.into(), other.into()]
}

async fn send(parts: Vec<String>, behavior: Behavior, mut sender: Sender<Bytes, io::Error>) {
    let sent = if behavior == Behavior::BreaksOff {
        parts.len() / 2
    } else {
        parts.len()
    };
    for part in parts.into_iter().take(sent) {
        // Fails if the reader is gone.
        let _ = sender.send_data(part.into()).await;
        sleep(Duration::from_millis(10)).await;
    }
    match behavior {
        Behavior::BreaksOff => sender.abort(io::Error::other("broken off")),
        Behavior::FallsSilent => pending().await,
        _ => {}
    }
}
