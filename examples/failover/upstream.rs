//! A server on loopback that fails on demand.

use std::{convert::Infallible, future::pending, io, net::SocketAddr};

use http::{HeaderValue, Response, StatusCode, Uri, header::RETRY_AFTER};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch};

pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

#[derive(Clone, Copy)]
pub(crate) enum Mode {
    Serves,
    Hangs,
    Unavailable,
    Throttles,
}

impl Upstream {
    pub(crate) async fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Serves);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                let answer = service_fn(move |_| answer(*seen.borrow()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(Self {
            name,
            address,
            mode,
        })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn uri(&self, path: &str) -> Uri {
        let uri = format!("http://{}{path}", self.address);
        uri.parse().expect("an address and a path are a URI")
    }
}

async fn answer(mode: Mode) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("hello"));
    match mode {
        Mode::Serves => {}
        Mode::Hangs => pending().await,
        Mode::Unavailable => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        Mode::Throttles => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            let two_seconds = HeaderValue::from_static("2");
            response.headers_mut().insert(RETRY_AFTER, two_seconds);
        }
    }
    Ok(response)
}
