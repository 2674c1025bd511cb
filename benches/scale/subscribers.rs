//! Many subscribers to each transition.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
};
use tower_health::{HealthCache, Provider};

use crate::table::{Table, timed};

pub(crate) fn print() {
    let table = Table::new("a subscriber, of", [1, 10, 100, 1_000]);
    table.nanos("ns to subscribe", subscribe);
    table.nanos("ns of a transition, for whoever causes it", |size| {
        transition(size).caused
    });
    table.nanos("ns of a transition, until all have heard", |size| {
        transition(size).heard
    });
}

fn subscribe(size: usize) -> Duration {
    let cache = HealthCache::default();
    timed(|| -> Vec<_> { iter::repeat_with(|| cache.subscribe()).take(size).collect() })
}

/// Times since the start of a transition.
struct Transition {
    caused: Duration,
    heard: Duration,
}

fn transition(subscribers: usize) -> Transition {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        let heard = Arc::new(AtomicUsize::new(0));
        let mut listeners = JoinSet::new();
        for _ in 0..subscribers {
            let heard = Arc::clone(&heard);
            listeners.spawn(cache.subscribe().for_each(move |_| {
                heard.fetch_add(1, Ordering::Relaxed);
            }));
        }
        // After the first transition, all subscribers wait for the next.
        let trip = |provider: &Provider| (0..2).for_each(|_| provider.mark_unhealthy("down"));
        let _ = announce(|| trip(&provider), &heard, subscribers).await;
        announce(|| provider.mark_healthy(), &heard, subscribers).await
    })
}

async fn announce(change: impl FnOnce(), heard: &AtomicUsize, subscribers: usize) -> Transition {
    heard.store(0, Ordering::Relaxed);
    let began = Instant::now();
    change();
    let caused = began.elapsed();
    while heard.load(Ordering::Relaxed) < subscribers {
        yield_now().await;
    }
    Transition {
        caused,
        heard: began.elapsed(),
    }
}
