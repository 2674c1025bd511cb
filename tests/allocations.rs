//! What calls and providers take of memory: the budgets.

use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use tower::{Layer, Service, service_fn};
use tower_health::{BoxError, HealthCache, HealthLayer, Provider};

/// Section 9.
#[test]
fn a_success_allocates_nothing() {
    let mut service = service(HealthCache::default().provider("groq"));

    let three_calls = measure(|| {
        for _ in 0..3 {
            assert!(call(&mut service).is_ok());
        }
    });

    assert_eq!(three_calls.count_total, 0);
}

/// Section 9: what is allocated is the box of the error.
#[test]
fn a_refusal_allocates_once() {
    let provider = HealthCache::default().provider("groq");
    let mut service = service(provider.clone());
    provider.mark_unhealthy("connection refused".to_owned());
    provider.mark_unhealthy("connection refused".to_owned());

    let one_call = measure(|| assert!(call(&mut service).is_err()));

    assert_eq!(one_call.count_total, 1);
}

/// Section 9.
#[test]
fn a_provider_takes_at_most_512_bytes() {
    const PROVIDERS: i64 = 10_000;
    let cache = HealthCache::default();

    let all = measure(|| {
        for number in 0..PROVIDERS {
            let _ = cache.provider(format!("provider-{number}"));
        }
    });

    let bytes = all.bytes_current / PROVIDERS;
    assert!((1..=512).contains(&bytes), "{bytes} bytes a provider");
}

fn service(provider: Provider) -> impl Service<(), Response = (), Error = BoxError> {
    HealthLayer::new(provider).layer(service_fn(|()| ready(Ok::<_, Infallible>(()))))
}

/// Drives a call by hand: an executor would allocate too.
fn call<S>(service: &mut S) -> Result<(), BoxError>
where
    S: Service<(), Response = (), Error = BoxError>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(())).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the inner service answers at once"),
    }
}
