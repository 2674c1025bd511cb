//! A server on loopback that behaves in one of six ways.

use std::{convert::Infallible, future::pending, io, net::SocketAddr, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Uri, header::RETRY_AFTER};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, time::Instant};

#[derive(Clone, Copy)]
pub(crate) enum Behavior {
    Serves,
    /// Healthy for 25 s, 503 for 15 s.
    Flaps,
    /// Healthy for 20 s, 429 for 15 s.
    Throttles,
    /// Passes checks, but never answers a call.
    Hangs,
    /// Refuses connections.
    Refuses,
    /// Always 502.
    Fails,
}

pub(crate) struct Upstream {
    address: SocketAddr,
}

impl Upstream {
    pub(crate) async fn start(behavior: Behavior) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        if !matches!(behavior, Behavior::Refuses) {
            tokio::spawn(serve(listener, behavior));
        }
        Ok(Self { address })
    }

    pub(crate) fn uri(&self, path: &str) -> Uri {
        let uri = format!("http://{}{path}", self.address);
        uri.parse().expect("an address and a path are a URI")
    }
}

async fn serve(listener: TcpListener, behavior: Behavior) {
    let start = Instant::now();
    while let Ok((stream, _)) = listener.accept().await {
        let answer = service_fn(move |request| answer(behavior, start.elapsed(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(
    behavior: Behavior,
    age: Duration,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_check = request.uri().path() == "/healthz";
    let mut response = Response::new(Full::from("hello"));
    match behavior {
        Behavior::Hangs if !is_check => pending().await,
        Behavior::Flaps if age.as_secs() % 40 >= 25 => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        Behavior::Throttles if !is_check && age.as_secs() % 35 >= 20 => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            let wait = HeaderValue::from(35 - age.as_secs() % 35);
            response.headers_mut().insert(RETRY_AFTER, wait);
        }
        Behavior::Fails => *response.status_mut() = StatusCode::BAD_GATEWAY,
        _ => {}
    }
    Ok(response)
}
