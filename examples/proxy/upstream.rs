//! A server on loopback that streams its responses, or answers 503.

use std::{
    io,
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
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use http::{StatusCode, Uri};
use http_body_util::Channel;
use hyper::body::Bytes;
use tokio::{net::TcpListener, time::sleep};

pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    is_healthy: Arc<AtomicBool>,
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> io::Result<Self> {
        let is_healthy = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&is_healthy);
        let answer = move || async move {
            if seen.load(Relaxed) {
                Response::new(Body::new(story(name)))
            } else {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        };
        Ok(Self {
            name,
            address: serve(Router::new().fallback(answer)).await?,
            is_healthy,
        })
    }

    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Relaxed);
    }
}

fn story(teller: &'static str) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for words in [teller, "tells", "a story."] {
            // Fails if the reader is gone.
            let _ = sender.send_data(words.into()).await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    body
}

pub(crate) async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Sends each part of a stream at once.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

pub(crate) fn uri(address: SocketAddr, path: &str) -> Uri {
    let uri = format!("http://{address}{path}");
    uri.parse().expect("an address and a path are a URI")
}
