//! The chain returns the answer of the first provider that serves, and an error names why each did not.

mod accounts;
mod fail_open;
mod guarded;
mod half_open;
mod hanging;
mod last_answer;
mod last_resort;
mod limits;
mod no_healthy_provider;
mod order;
mod request;
mod rule;
mod skips;
mod stacks;
mod wait;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    future::{Ready, pending, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{advance, sleep},
};
use tower::{Layer, Service, ServiceExt, retry::Policy as RetryPolicy};
use tower_health::{
    Backoff, BoxError, FallbackChain, Health, HealthCache, HealthLayer, Policy, Provider, State,
    error::{Attempt, CircuitOpen, NoHealthyProvider, find},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A provider's client whose behaviour can be set, and which counts its clones, polls and calls.
struct Stub {
    provider: Provider,
    shared: Arc<Shared>,
    is_ready: bool,
}

struct Shared {
    name: &'static str,
    behaviour: Mutex<Behaviour>,
    unready: Mutex<Vec<Waker>>,
    clones: AtomicUsize,
    polls: AtomicUsize,
    calls: AtomicUsize,
    running: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Behaviour {
    Serves { after: Duration },
    Fails { after: Duration, with: &'static str },
    Hangs,
    IsUnready,
    IsBroken { with: &'static str },
}

#[derive(Debug)]
struct Failed(&'static str);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Failed {}

/// Clients that serve, of the providers `a`, `b`, `c` and `d` of one cache.
fn stubs<const N: usize>() -> [Stub; N] {
    stubs_of(&HealthCache::default())
}

fn stubs_of<const N: usize>(cache: &HealthCache) -> [Stub; N] {
    std::array::from_fn(|index| {
        let name = ["a", "b", "c", "d"][index];
        Stub {
            provider: cache.provider(name),
            shared: Arc::new(Shared {
                name,
                behaviour: Mutex::new(Behaviour::Serves {
                    after: Duration::ZERO,
                }),
                unready: Mutex::default(),
                clones: AtomicUsize::new(0),
                polls: AtomicUsize::new(0),
                calls: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
            }),
            is_ready: false,
        }
    })
}

impl Stub {
    fn provider(&self) -> Provider {
        self.provider.clone()
    }

    fn stack(&self) -> Health<Stub> {
        HealthLayer::new(self.provider()).layer(self.clone())
    }

    fn serves(&self) {
        self.serves_after(Duration::ZERO);
    }

    fn serves_after(&self, after: Duration) {
        self.behaves(Behaviour::Serves { after });
    }

    fn fails(&self, with: &'static str) {
        self.fails_after(Duration::ZERO, with);
    }

    fn fails_after(&self, after: Duration, with: &'static str) {
        self.behaves(Behaviour::Fails { after, with });
    }

    fn hangs(&self) {
        self.behaves(Behaviour::Hangs);
    }

    fn is_unready(&self) {
        self.behaves(Behaviour::IsUnready);
    }

    fn is_broken(&self, with: &'static str) {
        self.behaves(Behaviour::IsBroken { with });
    }

    fn behaves(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
        let wakers = std::mem::take(&mut *self.shared.unready.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Opens the breaker for a minute.
    fn open(&self) {
        self.provider.mark_unhealthy("down");
        self.provider.mark_unhealthy("down");
        assert!(!self.provider.is_healthy());
    }

    fn open_for(&self, window: Duration) {
        let policy = Policy::new().backoff(Backoff::constant(window));
        self.provider.set_policy(policy);
        self.open();
    }

    fn throttled_for(&self, wait: Duration) {
        let policy = self.provider.policy();
        let without_jitter = policy.get_throttle().clone().jitter(0.0);
        self.provider.set_policy(policy.throttle(without_jitter));
        let permit = self.provider.admit().unwrap();
        permit.throttled(Some(wait), "429");
    }

    async fn is_half_open(&self) {
        self.open();
        advance(MINUTE).await;
        assert_eq!(self.provider.health().state, State::HalfOpen);
    }

    fn clones(&self) -> usize {
        self.shared.clones.load(Relaxed)
    }

    fn polls(&self) -> usize {
        self.shared.polls.load(Relaxed)
    }

    fn calls(&self) -> usize {
        self.shared.calls.load(Relaxed)
    }

    fn running(&self) -> usize {
        self.shared.running.load(Relaxed)
    }
}

impl Clone for Stub {
    fn clone(&self) -> Self {
        self.shared.clones.fetch_add(1, Relaxed);
        Self {
            provider: self.provider(),
            shared: Arc::clone(&self.shared),
            is_ready: false,
        }
    }
}

impl<Req> Service<Req> for Stub {
    type Response = &'static str;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<&'static str, BoxError>> + Send + Sync>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.shared.polls.fetch_add(1, Relaxed);
        match *self.shared.behaviour.lock().unwrap() {
            Behaviour::IsBroken { with } => return Poll::Ready(Err(Failed(with).into())),
            Behaviour::IsUnready => {
                let waker = cx.waker().clone();
                self.shared.unready.lock().unwrap().push(waker);
                return Poll::Pending;
            }
            _ => self.is_ready = true,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called unready");
        self.shared.calls.fetch_add(1, Relaxed);
        let running = Run::new(&self.shared);
        let behaviour = *self.shared.behaviour.lock().unwrap();
        Box::pin(async move {
            let name = running.0.name;
            match behaviour {
                Behaviour::Serves { after } => {
                    takes(after).await;
                    Ok(name)
                }
                Behaviour::Fails { after, with } => {
                    takes(after).await;
                    Err(Failed(with).into())
                }
                _ => pending().await,
            }
        })
    }
}

/// Sleeps for `time`, without a timer if it is zero.
async fn takes(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// A call in flight.
struct Run(Arc<Shared>);

impl Run {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.running.fetch_add(1, Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// A request that counts its clones.
#[derive(Default)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// Returns the same request without counting a clone.
    fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn clones(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Relaxed);
        self.handle()
    }
}

/// Retries up to this many times, unless the call was refused.
#[derive(Clone)]
struct Retries(u32);

impl<Res> RetryPolicy<(), Res, BoxError> for Retries {
    type Future = Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        let is_refusal = find::<CircuitOpen>(&**error).is_some();
        self.0 = self.0.checked_sub(1).filter(|_| !is_refusal)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

fn chain_of<Req: Clone, const N: usize>(stubs: [&Stub; N]) -> FallbackChain<Health<Stub>, Req> {
    stubs.into_iter().fold(FallbackChain::new(), |chain, stub| {
        chain.entry(stub.provider(), stub.stack())
    })
}

async fn ask(chain: &FallbackChain<Health<Stub>, ()>) -> Result<&'static str, BoxError> {
    chain.clone().oneshot(()).await
}

/// Returns how many of `callers` each provider serves.
async fn ask_at_once(
    callers: usize,
    chain: &FallbackChain<Health<Stub>, ()>,
) -> Vec<(&'static str, usize)> {
    let calls = (0..callers).map(|_| chain.clone().oneshot(()));
    let results = calls.collect::<JoinSet<_>>().join_all().await;
    let mut served = BTreeMap::new();
    for name in results.into_iter().flatten() {
        *served.entry(name).or_default() += 1;
    }
    served.into_iter().collect()
}

fn no_provider(result: Result<&'static str, BoxError>) -> NoHealthyProvider {
    *result.unwrap_err().downcast().unwrap()
}

fn lines(attempts: &[Attempt]) -> Vec<String> {
    attempts.iter().map(ToString::to_string).collect()
}
