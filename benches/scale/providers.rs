//! Many providers in one cache.

use std::{future::ready, hint::black_box, mem, time::Duration};

use allocation_counter::measure;
use tokio::runtime::Builder;
use tower_health::{HealthCache, HealthProbe};

use crate::{
    clients::make_by_key,
    ids::{IDS, SIZES, scattered},
    table::{Table, count, timed},
};

/// Creates this many providers in a cache.
type Fill = fn(&HealthCache, usize);

const KINDS: [(&str, Fill); 2] = [("by name", make_by_name), ("by key", make_by_key)];

pub(crate) fn print() {
    let table = Table::new("a provider, of", SIZES);
    // Measured first: later providers reuse the memory of removed ones, which would not be counted.
    for (kind, fill) in KINDS {
        table.row(&format!("{kind}: bytes"), |size| bytes(size, fill));
    }
    for (kind, fill) in KINDS {
        table.nanos(&format!("{kind}: ns to make"), |size| make(size, fill));
        table.nanos(&format!("{kind}: ns to find"), |size| find(size, fill));
        table.nanos(&format!("{kind}: ns in a snapshot"), |size| {
            snapshot(size, fill)
        });
        table.nanos(&format!("{kind}: ns to remove"), |size| remove(size, fill));
    }
    table.nanos("ns to give a probe its check", |size| timed(|| probe(size)));
    table.nanos("ns in a round of checks, 32 at once", |size| {
        round(size, 32)
    });
    table.nanos("ns in a round of checks, all at once", |size| {
        round(size, size)
    });
}

fn make_by_name(cache: &HealthCache, size: usize) {
    for id in &IDS[..size] {
        let _ = cache.provider(id.as_str());
    }
}

fn filled(size: usize, fill: Fill) -> HealthCache {
    let cache = HealthCache::default();
    fill(&cache, size);
    cache
}

fn bytes(size: usize, fill: Fill) -> f64 {
    let cache = HealthCache::default();
    let all = measure(|| fill(&cache, size));
    mem::forget(cache);
    count(usize::try_from(all.bytes_current).expect("more than before")) / count(size)
}

fn make(size: usize, fill: Fill) -> Duration {
    timed(|| filled(size, fill))
}

fn find(size: usize, fill: Fill) -> Duration {
    let cache = filled(size, fill);
    timed(|| {
        for number in scattered(size) {
            black_box(cache.is_healthy(&IDS[number]));
        }
    })
}

fn snapshot(size: usize, fill: Fill) -> Duration {
    let cache = filled(size, fill);
    timed(|| cache.snapshot())
}

fn remove(size: usize, fill: Fill) -> Duration {
    let cache = filled(size, fill);
    timed(|| {
        for number in scattered(size) {
            cache.remove(&IDS[number]);
        }
    })
}

/// A probe whose checks return at once.
fn probe(size: usize) -> (HealthCache, HealthProbe) {
    let cache = HealthCache::default();
    let none = HealthProbe::new(&cache);
    let ids = IDS[..size].iter();
    let probe = ids.fold(none, |probe, id| probe.check(id.as_str(), || ready(())));
    (cache, probe)
}

fn round(size: usize, concurrency: usize) -> Duration {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let (_cache, probe) = probe(size);
    let probe = probe.concurrency(concurrency);
    timed(|| runtime.block_on(probe.round()))
}
