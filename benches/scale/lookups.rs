//! Calls through one keyed layer, each of which has to find its provider.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::ready,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
};

use http::{Request, Uri};
use tower::{Layer, Service, service_fn};
use tower_health::{BoxError, ErrorsAsFailures, HealthCache, HealthLayer};

use super::{Table, count, ids, median, timed};

const CALLS: usize = 200_000;

pub(super) fn print() {
    let table = Table::new("million calls a second, of providers", [1_000, 10_000, 100_000]);
    for threads in [1, 2] {
        let row = |what: &str, lane: &(dyn Fn(&[String], &Client) + Sync)| {
            table.row(&format!("{what}, {threads} threads"), |size| {
                let cache = HealthCache::default();
                let client = client(&cache, size);
                let ids: Vec<_> = ids(size).collect();
                in_turn(&mut client.clone(), &ids, size);
                rate(threads, || lane(&ids, &client))
            });
        };
        row("one provider", &|ids, client| {
            in_turn(&mut client.clone(), &ids[..1], CALLS);
        });
    }
}
