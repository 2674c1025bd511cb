//! Many tasks at once on one failing provider, on real threads.

use std::{
    io,
    iter::repeat_with,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    Backoff, Cause, HealthCache, HealthLayer, Policy, State,
    error::{self, CircuitOpen},
};

const TASKS: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Runs `TASKS` tasks on four threads, all starting together.
async fn storm<R, F>(task: impl Fn() -> F) -> Vec<R>
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let start = Arc::new(Barrier::new(TASKS));
    let tasks = repeat_with(|| {
        let (start, task) = (Arc::clone(&start), task());
        async move {
            start.wait().await;
            task.await
        }
    });
    tasks.take(TASKS).collect::<JoinSet<_>>().join_all().await
}

/// The first two failures open the breaker once, and later ones change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousand_failures_at_once_make_one_outage() {
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(HOUR)));
    let provider = cache.provider("a");
    let mut transitions = cache.subscribe();

    storm(|| {
        let permit = provider.admit().unwrap();
        async move { permit.failure("down") }
    })
    .await;

    let health = provider.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.consecutive_failures, 2);
    let retry_in = health.retry_in.unwrap();
    assert!(retry_in <= HOUR && retry_in + MINUTE > HOUR, "{retry_in:?}");
    assert_eq!(transitions.recv().await.unwrap().to, State::Open);
    drop((cache, provider));
    assert!(transitions.recv().await.is_none(), "once");
}

/// An open breaker refuses each call, and none reaches the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousand_calls_at_once_are_each_refused_once() {
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(HOUR)));
    let provider = cache.provider("a");
    provider.mark_unhealthy("down");
    provider.mark_unhealthy("down");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = HealthLayer::new(provider).layer(service_fn(move |()| {
        counted.fetch_add(1, SeqCst);
        async { Ok::<_, io::Error>(()) }
    }));

    let answers = storm(|| service.clone().oneshot(())).await;

    let refused = answers.iter().filter(|answer| {
        let error = answer.as_ref().unwrap_err();
        error::find::<CircuitOpen>(&**error)
            .unwrap()
            .last_error()
            .is_some_and(|reason| reason == "down")
    });
    assert_eq!(refused.count(), TASKS);
    assert_eq!(calls.load(SeqCst), 0);
}
