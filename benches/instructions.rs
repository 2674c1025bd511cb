//! The number of instructions in a call: fails if it has grown.
//!
//! Unlike times, the number is the same on a busy machine. Valgrind counts, on Linux; `.ci/run` installs it, and the runner
//! of the gungraun version in `Cargo.lock`. Run with:
//!
//! ```text
//! cargo bench -p benches --bench instructions
//! ```
//!
//! After a change that makes a call cheaper, or is worth its cost, put the printed number at `one_call`. The figures are
//! for rustc 1.95 on x86-64, without `RUSTFLAGS`.

// Items that gungraun's macros generate have no docs.
#![allow(missing_docs)]

use std::{
    fmt,
    future::{Ready, poll_fn, ready},
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use gungraun::{Callgrind, EventKind, prelude::*};
use http::{Response, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, Service, service_fn};
use tower_health::{
    BoxError, FallbackChain, Health, HealthCache, HealthLayer, Policy, Provider, Trip,
    http::StatusClassifier,
};

main!(library_benchmark_groups = instructions);
library_benchmark_group!(name = instructions, benchmarks = one_call);

#[library_benchmark(setup = warmed_up)]
#[bench::closed(args = (closed()), config = figure(115))]
#[bench::closed_by_rate(args = (closed_by_rate()), config = figure(293))]
#[bench::closed_over_http(args = (closed_over_http()), config = figure(556))]
#[bench::refused(args = (refused()), config = figure(451))]
#[bench::admitted(args = (admitted()), config = figure(60))]
#[bench::not_admitted(args = (not_admitted()), config = figure(129))]
#[bench::chain(args = (chain()), config = figure(692))]
#[bench::client(args = (client()), config = figure(1167))]
#[bench::layered_client(args = (layered_client()), config = figure(2239))]
#[bench::by_hand(args = (by_hand()), config = figure(4695))]
#[bench::chain_of_clients(args = (chain_of_clients()), config = figure(5604))]
fn one_call<F: FnMut()>(call: &'static mut F) {
    call();
}

/// Fails above `instructions` plus 3 %, which another patch release of the compiler, tokio or the C library may add. A lock
/// takes some 30 instructions, a clock read 50, an allocation 160.
fn figure(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions * 3 / 100;
    let mut callgrind = Callgrind::with_args(["cache-sim=no"]);
    callgrind
        .format([EventKind::Ir])
        .hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// Makes the first call, which sets up state for later ones. Leaked, so that its drop is not counted.
fn warmed_up<F: FnMut()>(mut call: F) -> &'static mut F {
    call();
    Box::leak(Box::new(call))
}

fn closed() -> impl FnMut() {
    let mut service = service(HealthCache::default().provider("backend"));
    move || call(&mut service).unwrap()
}

fn closed_by_rate() -> impl FnMut() {
    // Long enough that no bucket of the window ends between two calls.
    let window = Duration::from_secs(60 * 60);
    let policy = Policy::new().trip(Trip::failure_rate(0.5, window));
    let mut service = service(HealthCache::new(policy).provider("backend"));
    move || call(&mut service).unwrap()
}

/// A call to the end of its body.
fn closed_over_http() -> impl FnMut() {
    type Body = Empty<&'static [u8]>;
    let inner = service_fn(|()| ready(Ok::<_, io::Error>(Response::new(Body::new()))));
    let mut service = HealthLayer::http(HealthCache::default().provider("backend")).layer(inner);
    move || {
        let mut body = call(&mut service).unwrap().into_body();
        assert!(at_once(body.frame()).is_none());
    }
}

fn refused() -> impl FnMut() {
    let mut service = service(open());
    move || assert!(call(&mut service).is_err())
}

fn admitted() -> impl FnMut() {
    let provider = HealthCache::default().provider("backend");
    move || provider.admit().unwrap().success()
}

fn not_admitted() -> impl FnMut() {
    let provider = open();
    move || assert!(provider.admit().is_err())
}

/// A chain whose first provider serves.
fn chain() -> impl FnMut() {
    let cache = HealthCache::default();
    let (first, second) = (cache.provider("first"), cache.provider("second"));
    let mut chain = FallbackChain::new()
        .entry(first.clone(), service(first))
        .entry(second.clone(), service(second));
    move || call(&mut chain).unwrap()
}

type Request = http::Request<Full<Bytes>>;

/// Answers without a network, but costs as much to clone as a real client.
#[derive(Clone)]
struct Client {
    _real: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Service<Request> for Client {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"answer")))))
    }
}

impl Client {
    fn new() -> Self {
        Self {
            _real: legacy::Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
        }
    }
}

fn over_http<S, B>(mut service: S) -> impl FnMut()
where
    S: Service<Request, Response = Response<B>, Error: fmt::Debug>,
    B: Body<Data = Bytes, Error: fmt::Debug> + Unpin,
{
    let request = http::Request::post("http://127.0.0.1:8080/v1/chat/completions")
        .header(header::AUTHORIZATION, "Bearer 0123456789abcdef")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(r#"{"messages":[]}"#))
        .unwrap();
    move || {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let mut body = at_once(service.call(request.clone())).unwrap().into_body();
        assert!(at_once(body.frame()).is_some());
        assert!(at_once(body.frame()).is_none());
    }
}

fn client() -> impl FnMut() {
    over_http(Client::new())
}

fn layered_client() -> impl FnMut() {
    over_http(layered(HealthCache::default().provider("backend")))
}

/// The minimum that a chain must do: keep the request, clone the service, and name the provider in the response.
fn by_hand() -> impl FnMut() {
    let provider = HealthCache::default().provider("backend");
    let id: Arc<str> = provider.id().into();
    let service = layered(provider);
    over_http(service_fn(move |request: Request| {
        let mut service = service.clone();
        let served_by = Arc::clone(&id);
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            let mut response = service.call(request.clone()).await?;
            drop(request);
            response.extensions_mut().insert(served_by);
            Ok::<_, BoxError>(response)
        }
    }))
}

fn chain_of_clients() -> impl FnMut() {
    let cache = HealthCache::default();
    let (first, second) = (cache.provider("first"), cache.provider("second"));
    let chain = FallbackChain::http()
        .entry(first.clone(), layered(first))
        .entry(second.clone(), layered(second));
    over_http(chain)
}

fn layered(provider: Provider) -> Health<Client, StatusClassifier> {
    HealthLayer::http(provider).layer(Client::new())
}

fn open() -> Provider {
    let provider = HealthCache::default().provider("backend");
    while provider.is_healthy() {
        provider.mark_unhealthy("connection refused");
    }
    provider
}

fn service(provider: Provider) -> impl Service<(), Response = (), Error = BoxError> + Clone {
    let answer: Result<(), io::ErrorKind> = Ok(());
    let inner = service_fn(move |()| ready(answer.map_err(io::Error::from)));
    HealthLayer::new(provider).layer(inner)
}

fn call<S: Service<()>>(service: &mut S) -> Result<S::Response, S::Error> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    at_once(service.call(()))
}

/// Polls by hand: an executor's instructions would be counted too.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
