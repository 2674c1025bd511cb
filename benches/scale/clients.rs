//! A client behind a layer that finds the provider of each call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use tower::{Layer, Service};
use tower_health::{ErrorsAsFailures, HealthCache, HealthLayer, KeyedHealth};

use crate::ids::{IDS, MOST_PROVIDERS};

pub(crate) type Id = &'static String;
pub(crate) type Client = KeyedHealth<Echo, ErrorsAsFailures, fn(&Id) -> &str>;

pub(crate) fn client(cache: &HealthCache) -> Client {
    let key: fn(&Id) -> &str = |id| id;
    HealthLayer::keyed(cache, key)
        .max_providers(MOST_PROVIDERS)
        .layer(Echo)
}

/// Calls `size` providers, each of which the layer creates.
pub(crate) fn make_by_key(cache: &HealthCache, size: usize) {
    let mut client = client(cache);
    for id in &IDS[..size] {
        call(&mut client, id).unwrap();
    }
}

pub(crate) fn call<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
{
    // Otherwise the compiler would optimize the service away.
    let service = black_box(service);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("it answers at once"),
    }
}

/// Answers at once with the request.
#[derive(Clone)]
pub(crate) struct Echo;

impl<Req> Service<Req> for Echo {
    type Response = Req;
    type Error = Infallible;
    type Future = Ready<Result<Req, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ready(Ok(request))
    }
}
