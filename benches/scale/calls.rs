//! Calls through a layer that finds the provider of each.

use std::{fmt::Debug, hint::black_box, sync::Barrier, thread};

use http::Request;
use tower::{Layer, Service};
use tower_health::{ErrorsAsFailures, HealthCache, HealthLayer};

use crate::{
    clients::{Client, Echo, call, client, make_by_key},
    ids::{IDS, SIZES, scattered},
    table::{Table, count, median, timed},
};

const CALLS: usize = 200_000;

pub(crate) fn print() {
    for threads in [1, 2] {
        let title = format!("million calls a second on {threads} threads, of");
        let table = Table::new(&title, SIZES);
        let row = |what: &str, calls: fn(Client, usize)| {
            table.row(what, |size| {
                let cache = HealthCache::default();
                make_by_key(&cache, size);
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

/// Returns the calls of all threads together, in millions a second; each makes [`CALLS`].
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
