//! A provider that answers at once, for `load/run`. Its model `slow` streams a token per second until the client leaves.
//!
//! Run with: `cargo run --release -p gateway --example upstream -- 127.0.0.1:9101`

use std::{convert::Infallible, env, iter::repeat_n, time::Duration};

use axum::{
    Router, body::Body, http::header::CONTENT_TYPE, response::IntoResponse, routing::post,
    serve::ListenerExt,
};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use tokio::{net::TcpListener, time::sleep};
use tower_health::BoxError;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"Hello"}}]}"#;
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello \"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const TOKENS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = env::args().nth(1).ok_or("usage: upstream 127.0.0.1:9101")?;
    let listener = TcpListener::bind(address).await?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().route("/v1/chat/completions", post(answer));
    Ok(axum::serve(listener, router).await?)
}

async fn answer(request: String) -> impl IntoResponse {
    if !request.contains("\"stream\":true") {
        return ([(CONTENT_TYPE, "application/json")], Body::from(ANSWER));
    }
    let (sender, body) = Channel::new(1);
    tokio::spawn(stream(sender, request.contains("\"slow\"")));
    ([(CONTENT_TYPE, "text/event-stream")], Body::new(body))
}

async fn stream(mut sender: Sender<Bytes, Infallible>, is_slow: bool) {
    if is_slow {
        while sender.send_data(TOKEN.into()).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    }
    for event in repeat_n(TOKEN, TOKENS).chain([DONE]) {
        // Fails if the client has left.
        let _ = sender.send_data(event.into()).await;
    }
}
