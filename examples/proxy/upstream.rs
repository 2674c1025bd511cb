//! A server on loopback that tells stories, bit by bit, while it is well.

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
    is_well: Arc<AtomicBool>,
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> io::Result<Self> {
        let is_well = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&is_well);
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
            is_well,
        })
    }

    pub(crate) fn set_well(&self, is_well: bool) {
        self.is_well.store(is_well, Relaxed);
    }
}

fn story(teller: &'static str) -> Channel<Bytes> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for words in [teller, "tells", "a story."] {
            // An error is that of a listener who has gone away.
            let _ = sender.send_data(words.into()).await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    body
}

pub(crate) async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // What is streamed is sent as it comes.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

pub(crate) fn uri(address: SocketAddr, path: &str) -> Uri {
    let uri = format!("http://{address}{path}");
    uri.parse().expect("an address and a path are a URI")
}
