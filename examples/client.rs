//! A hyper-util client with a circuit breaker: a retry outside, a timeout inside.
//!
//! Run with: `cargo run --example client`

use std::{
    convert::Infallible,
    future::{Ready, ready},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tower::{
    Service, ServiceBuilder, ServiceExt,
    retry::{Policy as Retry, RetryLayer},
    timeout::TimeoutLayer,
};
use tower_health::{
    Backoff, BoxError, HealthCache, HealthLayer, Policy,
    error::{self, CircuitOpen},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let healthy_from = Instant::now() + Duration::from_secs(1);
    tokio::spawn(serve(listener, healthy_from));

    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(Duration::from_secs(1))));
    let mut client = ServiceBuilder::new()
        .layer(RetryLayer::new(OnceMore { is_spent: false }))
        .layer(HealthLayer::http(cache.provider("search")))
        .layer(TimeoutLayer::new(Duration::from_millis(200)))
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    for _ in 0..8 {
        let request = Request::get(format!("http://{address}/")).body(Empty::new())?;
        match client.ready().await?.call(request).await {
            Ok(response) => println!("answered {}", response.status()),
            Err(error) => match error::find::<CircuitOpen>(&*error) {
                Some(refusal) => println!("refused, retry in {:?}", refusal.retry_in()),
                None => println!("failed: {error}"),
            },
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Retries once, but not after a refusal by the breaker: it would refuse again.
#[derive(Clone)]
struct OnceMore {
    is_spent: bool,
}

impl<B> Retry<Request<Empty<Bytes>>, Response<B>, BoxError> for OnceMore {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _request: &mut Request<Empty<Bytes>>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let is_worth_it = match result {
            Ok(response) => response.status().is_server_error(),
            Err(error) => !error::is_refusal(&**error),
        };
        if self.is_spent || !is_worth_it {
            return None;
        }
        self.is_spent = true;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<Empty<Bytes>>) -> Option<Request<Empty<Bytes>>> {
        Some(request.clone())
    }
}

async fn serve(listener: TcpListener, healthy_from: Instant) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = service_fn(move |_| async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            if Instant::now() < healthy_from {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
