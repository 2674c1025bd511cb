//! One provider, whose views are compared whenever its health is read.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    ops::Deref,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::{task::unconstrained, time::advance};
use tokio_test::task::spawn;
use tower_health::{
    HealthCache, Permit, Policy, Provider, ProviderHealth, State, Transition, Transitions,
};

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const MOMENT: Duration = Duration::from_nanos(1);

pub(crate) fn just_under(limit: Duration) -> Duration {
    limit.checked_sub(MOMENT).expect("longer than zero")
}

/// The policy, with throttles that last exactly as long as the provider asks.
pub(crate) fn without_jitter(policy: Policy) -> Policy {
    let throttle = policy.get_throttle().clone().jitter(0.0);
    policy.throttle(throttle)
}

/// A cache with one provider.
pub(crate) struct Rig {
    pub(crate) cache: HealthCache,
    pub(crate) provider: Provider,
}

impl Rig {
    pub(crate) const ID: &str = "a";

    pub(crate) fn new(policy: Policy) -> Self {
        let cache = HealthCache::new(policy);
        let provider = cache.provider(Self::ID);
        Self { cache, provider }
    }

    /// A provider that its own rule has tripped.
    pub(crate) fn open(policy: Policy) -> Self {
        let rig = Self::new(policy);
        rig.trip();
        rig
    }

    /// A tripped provider whose open window has ended.
    pub(crate) async fn half_open(policy: Policy) -> Self {
        let rig = Self::open(policy);
        rig.await_half_open().await;
        rig
    }

    /// Rule 7: returns the health that every view shows, after asserting that all agree and that reading changes nothing.
    #[track_caller]
    pub(crate) fn health(&self) -> ProviderHealth {
        let health = self.provider.health();
        let snapshot = self.cache.snapshot();
        assert_same(&health, snapshot.get(Self::ID).expect("a row"));
        assert_eq!(health.retry_in.is_none(), health.healthy);
        assert_eq!(self.provider.is_healthy(), health.healthy);
        assert_eq!(self.cache.is_healthy(Self::ID), health.healthy);
        match self.provider.admit() {
            Ok(permit) => {
                permit.neutral();
                assert!(health.healthy, "admitted, but: {health:?}");
            }
            Err(refusal) => {
                assert_eq!(Some(refusal.retry_in()), health.retry_in);
                assert_eq!(refusal.state(), health.state);
                assert_eq!(refusal.cause(), health.cause);
                assert_eq!(refusal.last_error(), health.last_error.as_ref());
            }
        }
        assert_same(&health, &self.provider.health());
        health
    }

    #[track_caller]
    pub(crate) fn state(&self) -> State {
        self.health().state
    }

    /// Returns how long a call would have to wait now.
    #[track_caller]
    pub(crate) fn wait(&self) -> Duration {
        self.health().retry_in.unwrap_or_default()
    }

    /// Returns the permit of a call that must be admitted.
    #[track_caller]
    pub(crate) fn call(&self) -> Permit {
        self.admit().expect("a call is admitted")
    }

    #[track_caller]
    pub(crate) fn succeed(&self) {
        self.call().success();
    }

    #[track_caller]
    pub(crate) fn fail(&self) {
        self.call().failure("down");
    }

    #[track_caller]
    pub(crate) fn throttle(&self, wait: Duration) {
        self.call().throttled(Some(wait), "slow down");
    }

    /// Fails calls until the breaker trips.
    #[track_caller]
    pub(crate) fn trip(&self) {
        while self.provider.health().state == State::Closed {
            self.fail();
        }
    }

    #[track_caller]
    pub(crate) fn trial(&self) -> Permit {
        let permit = self.call();
        assert!(permit.is_trial());
        permit
    }

    pub(crate) async fn await_half_open(&self) {
        assert_eq!(self.state(), State::Open);
        advance(self.wait()).await;
        assert_eq!(self.state(), State::HalfOpen);
    }
}

impl Deref for Rig {
    type Target = Provider;

    fn deref(&self) -> &Provider {
        &self.provider
    }
}

/// Ignores shadow calls, which are counted even if they change nothing else.
#[track_caller]
pub(crate) fn assert_same(one: &ProviderHealth, other: &ProviderHealth) {
    let [one, other] = [one, other].map(|health| {
        let mut health = health.clone();
        health.shadow = None;
        format!("{health:?}")
    });
    assert_eq!(one, other);
}

/// All transitions that can be received without waiting.
pub(crate) fn received(transitions: &mut Transitions) -> Vec<Transition> {
    let mut all = Vec::new();
    while let Poll::Ready(Some(next)) = spawn(unconstrained(transitions.recv())).poll() {
        all.push(next);
    }
    all
}

/// Threads that do the same at once, with proof that they contend.
#[derive(Default)]
pub(crate) struct Race {
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Race {
    pub(crate) fn run<R: Send>(&self, threads: usize, step: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let start = Barrier::new(threads);
        let lane = |number| {
            start.wait();
            let running = self.running.fetch_add(1, SeqCst) + 1;
            self.most_running.fetch_max(running, SeqCst);
            let result = step(number);
            self.running.fetch_sub(1, SeqCst);
            result
        };
        thread::scope(|scope| {
            let lane = &lane;
            let running: Vec<_> = (0..threads)
                .map(|number| scope.spawn(move || lane(number)))
                .collect();
            let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
            ended.map(|result| result.expect("no panic")).collect()
        })
    }

    /// At least `enough` rounds, and more until two threads have run at once.
    pub(crate) fn rounds(&self, enough: usize) -> impl Iterator<Item = usize> {
        (0..100 * enough).take_while(move |round| *round < enough || !self.has_contended())
    }

    #[track_caller]
    pub(crate) fn assert_contended(&self) {
        assert!(self.has_contended(), "one ran after the other");
    }

    fn has_contended(&self) -> bool {
        self.most_running.load(SeqCst) > 1
    }
}
