//! The memory budgets of calls and providers.

use std::{
    future::ready,
    io::{self, ErrorKind},
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use tower::{Layer, Service, service_fn};
use tower_health::{BoxError, FallbackChain, HealthCache, HealthLayer, Policy, Provider, Trip};

#[test]
fn a_success_allocates_nothing() {
    let mut service = service(HealthCache::default().provider("groq"), Ok(()));

    let three_calls = measure(|| {
        for _ in 0..3 {
            assert!(call(&mut service).is_ok());
        }
    });

    assert_eq!(three_calls.count_total, 0);
}

/// Up to the end of the body.
#[cfg(feature = "http")]
#[test]
fn a_success_over_http_allocates_nothing() {
    use http::Response;
    use http_body_util::{BodyExt, Empty};

    type Body = Empty<&'static [u8]>;
    let answer = service_fn(|()| ready(Ok::<_, io::Error>(Response::new(Body::new()))));
    let mut service = HealthLayer::http(HealthCache::default().provider("groq")).layer(answer);

    let one_call = measure(|| {
        let mut body = call(&mut service).unwrap().into_body();
        assert!(at_once(body.frame()).is_none());
    });

    assert_eq!(one_call.count_total, 0);
}

/// The allocations: the error's box, and its text unless it equals the thread's last one.
#[test]
fn a_failure_below_the_trip_allocates_once_or_twice() {
    let policy = Policy::new().trip(Trip::consecutive(5));
    let provider = HealthCache::new(policy).provider("groq");
    let mut service = service(provider.clone(), Err(ErrorKind::ConnectionRefused));

    let mut one_call = || measure(|| assert!(call(&mut service).is_err())).count_total;

    assert_eq!([one_call(), one_call(), one_call()], [2, 1, 1]);
    assert!(provider.is_healthy());
}

/// The allocations: the error's box, and the copy that a thread keeps of its first refusal.
#[test]
fn a_refusal_allocates_once() {
    let provider = HealthCache::default().provider("groq");
    let mut service = service(provider.clone(), Ok(()));
    provider.mark_unhealthy("connection refused".to_owned());
    provider.mark_unhealthy("connection refused".to_owned());

    let mut one_call = || measure(|| assert!(call(&mut service).is_err())).count_total;

    assert_eq!([one_call(), one_call(), one_call()], [2, 1, 1]);
}

#[test]
fn a_chain_over_a_well_provider_allocates_nothing() {
    let cache = HealthCache::default();
    let (groq, together) = (cache.provider("groq"), cache.provider("together"));
    let mut chain = FallbackChain::new()
        .entry(groq.clone(), service(groq, Ok(())))
        .entry(together.clone(), service(together, Ok(())));

    let one_call = measure(|| assert!(call(&mut chain).is_ok()));

    assert_eq!(one_call.count_total, 0);
}

/// With metrics, the handles of the provider's series are extra.
#[test]
fn a_provider_takes_at_most_512_bytes() {
    const PROVIDERS: i64 = 10_000;
    const MOST: i64 = if cfg!(feature = "metrics") { 864 } else { 512 };
    let cache = HealthCache::default();

    let all = measure(|| {
        for number in 0..PROVIDERS {
            let _ = cache.provider(format!("provider-{number}"));
        }
    });

    let bytes = all.bytes_current / PROVIDERS;
    assert!((1..=MOST).contains(&bytes), "{bytes} bytes a provider");
}

fn service(
    provider: Provider,
    answer: Result<(), ErrorKind>,
) -> impl Service<(), Response = (), Error = BoxError> + Clone {
    let inner = service_fn(move |()| ready(answer.map_err(io::Error::from)));
    HealthLayer::new(provider).layer(inner)
}

fn call<S>(service: &mut S) -> Result<S::Response, S::Error>
where
    S: Service<()>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    at_once(service.call(()))
}

/// Polls by hand: an executor would allocate.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the inner service answers at once"),
    }
}
