//! Calls through a layer that has to find the provider of each.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
};

use http::Request;
use tower::{Layer, Service};
use tower_health::{ErrorsAsFailures, HealthCache, HealthLayer, KeyedHealth};

use super::{
    IDS, MOST_PROVIDERS, Table, count, median,
    providers::{SIZES, by_key},
    scattered, timed,
};

const CALLS: usize = 200_000;

type Id = &'static String;
pub(super) type Client = KeyedHealth<Echo, ErrorsAsFailures, fn(&Id) -> &str>;

pub(super) fn print() {
    for threads in [1, 2] {
        let title = format!("million calls a second on {threads} threads, of");
        let table = Table::new(&title, SIZES);
        let row = |what: &str, calls: fn(Client, usize)| {
            table.row(what, |size| {
                let cache = HealthCache::default();
                by_key(&cache, size);
                let client = client(&cache);
                rate(threads, || calls(client.clone(), size))
            });
        };
        row("to one provider", |client, _| in_turn(client, 1));
        row("to 100 in turn", |client, _| in_turn(client, 100));
        row("to all in turn", in_turn);
        row("to one, by a clone each", |client, _| {
            clones_in_turn(&client, 1);
        });
        row("to all in turn, by a clone each", |client, all| {
            clones_in_turn(&client, all);
        });
        let row = |what: &str, calls: fn()| table.row(what, |_| rate(threads, calls));
        row("to one, by its authority", by_authority);
        row("the same without a layer", without_a_layer);
    }
}

/// Of so many threads together, each of which makes [`CALLS`].
fn rate(threads: usize, calls: impl Fn() + Sync) -> f64 {
    let time = median(|| {
        let start = Barrier::new(threads);
        let lane = || {
            start.wait();
            timed(&calls)
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..threads).map(|_| scope.spawn(lane)).collect();
            let times = lanes.into_iter().map(|lane| lane.join().unwrap());
            times.max().expect("there is a thread")
        })
    });
    count(threads * CALLS) / time.as_secs_f64() / 1e6
}

pub(super) fn client(cache: &HealthCache) -> Client {
    let key: fn(&Id) -> &str = |id| id;
    HealthLayer::keyed(cache, key)
        .max_providers(MOST_PROVIDERS)
        .layer(Echo)
}

fn in_turn(mut client: Client, providers: usize) {
    for number in scattered(providers).cycle().take(CALLS) {
        call(&mut client, &IDS[number]).unwrap();
    }
}

fn clones_in_turn(client: &Client, providers: usize) {
    for number in scattered(providers).cycle().take(CALLS) {
        call(&mut client.clone(), &IDS[number]).unwrap();
    }
}

fn by_authority() {
    let layer = HealthLayer::per_authority(&HealthCache::default());
    send(layer.classify(ErrorsAsFailures).layer(Echo));
}

fn without_a_layer() {
    send(Echo);
}

fn send<S>(mut client: S)
where
    S: Service<Request<()>, Response = Request<()>, Error: Debug>,
{
    let mut request = Request::get(&IDS[0]).body(()).unwrap();
    for _ in 0..CALLS {
        request = call(&mut client, black_box(request)).unwrap();
    }
}

pub(super) fn call<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
{
    // Or the compiler would see through it.
    let service = black_box(service);
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("it answers at once"),
    }
}

/// Answers at once, with the request.
#[derive(Clone)]
pub(super) struct Echo;

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
