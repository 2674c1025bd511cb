//! The time of a refusal when many tasks on two threads are refused at once: with an unchanging breaker, and while two more
//! threads move its deadline as often as they can.

use std::{
    iter::repeat_with,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
};
use tower::Layer;
use tower_health::{HealthCache, HealthLayer, Provider};

use crate::{
    clients::{Echo, call},
    table::{Table, nanos, timed},
};

const REFUSALS: usize = 200_000;
const THROTTLED: usize = 1_000_000;
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn print() {
    let table = Table::new("ns a refusal, of so many tasks", [1, 10, 100, 1_000]);
    for (weather, storms) in [("calm", false), ("storm", true)] {
        for (name, percent) in [("median", 50), ("99th percentile", 99), ("longest", 100)] {
            table.row(&format!("{weather}: {name}"), |tasks| {
                let mut times = times(tasks, storms);
                times.sort();
                nanos(times[(times.len() - 1) * percent / 100])
            });
        }
    }
}

fn times(tasks: usize, storms: bool) -> Vec<Duration> {
    let provider = HealthCache::default().provider("a");
    let begun_before: Vec<_> = (0..THROTTLED)
        .map(|_| provider.admit().expect("it is closed"))
        .collect();
    provider.mark_unhealthy("down");
    provider.mark_unhealthy("down");
    let is_over = &AtomicBool::new(!storms);
    let goes_on = || !is_over.load(Ordering::Relaxed);

    thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                provider.mark_unhealthy("down");
            }
        });
        scope.spawn(|| {
            for call in begun_before.into_iter().take_while(|_| goes_on()) {
                call.throttled(Some(MINUTE), "slow down");
            }
        });
        let times = refuse(&provider, tasks);
        is_over.store(true, Ordering::Relaxed);
        times
    })
}

fn refuse(provider: &Provider, tasks: usize) -> Vec<Duration> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let client = HealthLayer::new(provider.clone()).layer(Echo);
    let caller = || {
        let mut client = client.clone();
        async move {
            let mut times = Vec::new();
            for _ in 0..REFUSALS / tasks {
                times.push(timed(|| call(&mut client, ()).unwrap_err()));
                yield_now().await;
            }
            times
        }
    };
    let callers = repeat_with(caller).take(tasks);
    runtime
        .block_on(async { callers.collect::<JoinSet<_>>().join_all().await })
        .concat()
}
