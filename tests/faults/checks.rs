use std::{
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use tokio::time::sleep;
use tower_health::{HealthCache, HealthProbe};

use crate::{Hydra, StrikesInDrop, rig::secs};

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn check_does_not_end_the_probe_whatever_it_panics_with() {
    let cache = HealthCache::default();
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let probe = HealthProbe::new(&cache)
        .jitter(0.0)
        .check("a", move || -> Ready<()> {
            counted.fetch_add(1, SeqCst);
            Hydra::strike()
        });
    let probe = probe.spawn();
    sleep(secs(61)).await;
    assert_eq!(checks.load(SeqCst), 3);
    assert!(!cache.is_healthy("a"));
    probe.stop().await;
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn stop_waits_for_every_check_whatever_the_first_panics_with() {
    let cache = HealthCache::default();
    let running = Arc::new(AtomicUsize::new(0));
    let probe = (0..100).fold(HealthProbe::new(&cache), |probe, number| {
        let running = Arc::clone(&running);
        probe.check(number.to_string(), move || {
            running.fetch_add(1, SeqCst);
            Cancelled(Arc::clone(&running))
        })
    });
    let probe = probe.concurrency(100).spawn();
    sleep(secs(1)).await;
    assert_eq!(running.load(SeqCst), 100);

    probe.stop().await;
    assert_eq!(running.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_though_a_check_cannot_be_dropped() {
    let cache = HealthCache::default();
    let in_drop = StrikesInDrop::default();
    let probe = HealthProbe::new(&cache).check("a", move || {
        let _ = &in_drop;
        ready(true)
    });
    let probe = probe.spawn();
    sleep(secs(1)).await;
    probe.stop().await;
    assert!(cache.is_healthy("a"));
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn check_whose_request_cannot_be_made_has_failed() {
    use http::{Request, Response};
    use tower::service_fn;
    use tower_health::{BoxError, http::HttpCheck};

    let client = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(String::new())));
    let check = HttpCheck::new(client, || crate::strike());
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).check_with("a", check);
    probe.round().await;
    let health = cache.provider("a").health();
    assert_eq!(health.last_error.unwrap(), "check panicked: no text");
}

/// A check that never ends, and panics when it is cancelled.
struct Cancelled(Arc<AtomicUsize>);

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
        Hydra::strike();
    }
}
