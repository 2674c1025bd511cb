//! A provider that streams a script.

use std::{
    convert::Infallible,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderMap,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::channel::{Channel, Sender};
use tokio::time::sleep;

use crate::serve;

#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Sends an event with this data.
    Event(&'static str),
    Pause(Duration),
}

/// Answers every call with the same script.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) address: SocketAddr,
    has_compressed: Arc<AtomicBool>,
}

impl Upstream {
    pub async fn start(script: &'static [Act]) -> Self {
        Self::serve(move |_| {
            let (sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(play(script, sender));
            events().body(Body::new(body)).expect("valid headers")
        })
        .await
    }

    /// Starts a provider that compresses for clients that accept gzip, and sends everything at once.
    pub async fn start_compressing(script: &'static [Act]) -> Self {
        let has_compressed = Arc::new(AtomicBool::new(false));
        let upstream = Self::serve({
            let has_compressed = Arc::clone(&has_compressed);
            move |headers| {
                let text: String = script.iter().filter_map(Act::text).collect();
                if !accepts_gzip(&headers) {
                    return events().body(text.into()).expect("valid headers");
                }
                has_compressed.store(true, Relaxed);
                let answer = events().header(CONTENT_ENCODING, "gzip");
                answer
                    .body(compressed(&text).into())
                    .expect("valid headers")
            }
        })
        .await;
        Self {
            has_compressed,
            ..upstream
        }
    }

    #[must_use]
    pub fn has_compressed(&self) -> bool {
        self.has_compressed.load(Relaxed)
    }

    async fn serve(answer: impl Fn(HeaderMap) -> Response + Clone + Send + Sync + 'static) -> Self {
        let router = Router::new().fallback(move |headers: HeaderMap, _: Bytes| {
            let answer = answer(headers);
            async { answer }
        });
        Self {
            address: serve(router).await,
            has_compressed: Arc::default(),
        }
    }
}

impl Act {
    fn text(&self) -> Option<String> {
        match self {
            Self::Event(data) => Some(format!("data: {data}\n\n")),
            Self::Pause(_) => None,
        }
    }
}

async fn play(script: &[Act], mut sender: Sender<Bytes, Infallible>) {
    for act in script {
        if let Act::Pause(pause) = act {
            sleep(*pause).await;
        }
        if let Some(text) = act.text() {
            // Fails if the reader is gone.
            let _ = sender.send_data(text.into()).await;
        }
    }
}

fn events() -> axum::http::response::Builder {
    Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8")
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING);
    accepted.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("gzip")))
}

fn compressed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("into memory");
    encoder.finish().expect("into memory")
}
