//! Calls at a steady rate. A share of them fails at random.

use std::{
    future::{Ready, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fastrand::Rng;
use tokio::{runtime, time::advance};
use tower::Service;
use tower_health::BoxError;

use super::cost::Cost;

const SECONDS: u32 = 10 * 60;
const MOST_STEPS: u32 = 20;

/// A breaker that is still closed after this many failures counts as one that does not open.
pub(super) const MOST_FAILURES: u32 = 1_000;

/// Whether the provider fails this call.
pub(super) type Fails = bool;

/// A provider, behind a breaker or not.
pub(super) trait Client: Service<Fails, Response = (), Error: Send> {}

impl<S: Service<Fails, Response = (), Error: Send>> Client for S {}

pub(super) struct Traffic {
    seed: u64,
    rng: Rng,
    per_second: u32,
    failing: f64,
}

impl Traffic {
    pub(super) fn new(seed: u64, per_second: u32, failing: f64) -> Self {
        Self {
            seed,
            rng: Rng::with_seed(seed),
            per_second,
            failing,
        }
    }

    /// Returns the cost without a breaker, where the same calls fail.
    pub(super) fn unguarded(mut self) -> Cost {
        let calls = 0..SECONDS * self.per_second;
        Cost {
            errors: calls.map(|_| u32::from(self.next_fails())).sum(),
            failures_to_open: None,
        }
    }

    pub(super) fn through<C: Client>(mut self, design: fn(Provider) -> C) -> Cost {
        // For designs with jitter.
        fastrand::seed(self.seed);
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime
            .expect("without I/O there is nothing to fail")
            .block_on(async {
                let provider = Provider::default();
                let mut client = design(provider.clone());
                Cost {
                    errors: self.errors(&mut client).await,
                    failures_to_open: self.failures_to_open(&mut client, &provider).await,
                }
            })
    }

    async fn errors(&mut self, client: &mut impl Client) -> u32 {
        // More steps would take longer and change nothing.
        let steps = self.per_second.min(MOST_STEPS);
        let mut errors = 0;
        for _ in 0..SECONDS * steps {
            for _ in 0..self.per_second / steps {
                let fails = self.next_fails();
                errors += u32::from(!answers(client, fails));
            }
            advance(Duration::from_secs(1) / steps).await;
        }
        errors
    }

    fn next_fails(&mut self) -> Fails {
        self.rng.f64() < self.failing
    }

    /// Returns the number of failed calls until one does not reach the provider.
    async fn failures_to_open(&self, client: &mut impl Client, provider: &Provider) -> Option<u32> {
        // The breaker may be open by chance.
        while !answers(client, false) {
            advance(Duration::from_secs(1)).await;
        }
        let before = provider.calls();
        for failures in 0..=MOST_FAILURES {
            answers(client, true);
            if provider.calls() == before + failures {
                return Some(failures);
            }
            advance(Duration::from_secs(1) / self.per_second).await;
        }
        None
    }
}

/// Polls once: no call here waits.
fn answers<C: Client>(client: &mut C, fails: Fails) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    client.poll_ready(&mut context).is_ready()
        && matches!(
            pin!(client.call(fails)).poll(&mut context),
            Poll::Ready(Ok(()))
        )
}

/// A provider that answers at once, and counts the calls that reach it.
#[derive(Clone, Default)]
pub(super) struct Provider {
    calls: Arc<AtomicU32>,
}

impl Provider {
    fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }
}

impl Service<Fails> for Provider {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fails: Fails) -> Self::Future {
        self.calls.fetch_add(1, Relaxed);
        ready(if fails {
            Err("by chance".into())
        } else {
            Ok(())
        })
    }
}
