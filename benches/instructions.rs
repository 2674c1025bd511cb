//! How many instructions a call takes: a guard that fails when the number has grown.
//!
//! Unlike a time it is the same on a busy machine. Valgrind counts, on Linux; `.ci/run` installs it, and
//! the runner of gungraun's version in `Cargo.lock`. Run with:
//!
//! ```text
//! cargo bench --bench instructions
//! ```
//!
//! Where a change has made a call cheaper, or is worth what it costs, the number printed becomes the
//! figure at `one_call`. The figures are of rustc 1.95 on x86-64, without `RUSTFLAGS`.

// Nothing that gungraun's macros make has any.
#![allow(missing_docs)]

use std::{
    future::ready,
    io,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use gungraun::{Callgrind, EventKind, prelude::*};
use http::Response;
use http_body_util::{BodyExt, Empty};
use tower::{Layer, Service, service_fn};
use tower_health::{BoxError, FallbackChain, HealthCache, HealthLayer, Policy, Provider, Trip};

main!(library_benchmark_groups = instructions);
library_benchmark_group!(name = instructions, benchmarks = one_call);

#[library_benchmark(setup = warmed_up)]
#[bench::closed(args = (closed()), config = figure(115))]
#[bench::closed_by_rate(args = (closed_by_rate()), config = figure(302))]
#[bench::closed_over_http(args = (closed_over_http()), config = figure(546))]
#[bench::refused(args = (refused()), config = figure(600))]
#[bench::admitted(args = (admitted()), config = figure(50))]
#[bench::not_admitted(args = (not_admitted()), config = figure(255))]
#[bench::chain(args = (chain()), config = figure(660))]
fn one_call<F: FnMut()>(call: &'static mut F) {
    call();
}

/// Fails at more than `instructions` and 3 % of them: what another patch of the compiler, of tokio or of the
/// C library may add. A lock taken is some 30, a read of the clock 50, an allocation 160.
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

/// The first call makes what later ones find. Leaked, so that no drop is counted.
fn warmed_up<F: FnMut()>(mut call: F) -> &'static mut F {
    call();
    Box::leak(Box::new(call))
}

fn closed() -> impl FnMut() {
    let mut service = service(HealthCache::default().provider("backend"));
    move || call(&mut service).unwrap()
}

fn closed_by_rate() -> impl FnMut() {
    // So long that no bucket of the window ends between two calls.
    let window = Duration::from_secs(60 * 60);
    let policy = Policy::new().trip(Trip::failure_rate(0.5, window));
    let mut service = service(HealthCache::new(policy).provider("backend"));
    move || call(&mut service).unwrap()
}

/// To the end of the body.
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

/// The first of two providers is well, and serves.
fn chain() -> impl FnMut() {
    let cache = HealthCache::default();
    let (first, second) = (cache.provider("first"), cache.provider("second"));
    let mut chain = FallbackChain::new()
        .entry(first.clone(), service(first))
        .entry(second.clone(), service(second));
    move || call(&mut chain).unwrap()
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

/// Drives a future by hand: an executor's instructions would be counted too.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
