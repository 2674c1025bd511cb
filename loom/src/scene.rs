//! A provider with a subscriber to its transitions, and a service to call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    ops::Deref,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::task::unconstrained;
use tower_health::{HealthCache, Permit, Policy, Provider, State, Transitions, Trials, Trip};
use tower_service::Service;

use crate::explorer::advance;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// How long the breaker stays open by default.
pub(crate) const BACKOFF: Duration = Duration::from_secs(60);

/// Returns a policy that trips at this many failures in a row.
pub(crate) fn trips_at(failures: u32) -> Policy {
    Policy::new().trip(Trip::consecutive(failures))
}

/// Returns the policy with throttles that last exactly as long as the provider asks.
pub(crate) fn without_jitter(policy: Policy) -> Policy {
    let throttle = policy.get_throttle().clone().jitter(0.0);
    policy.throttle(throttle)
}

pub(crate) fn with_trials(trials: Trials) -> Policy {
    trips_at(1).trials(trials)
}

pub(crate) struct Scene {
    pub(crate) cache: HealthCache,
    provider: Provider,
    transitions: Transitions,
    state: State,
}

impl Scene {
    pub(crate) fn closed(policy: Policy) -> Self {
        let cache = HealthCache::new(policy);
        let provider = cache.provider("a");
        let transitions = cache.subscribe();
        Self {
            cache,
            provider,
            transitions,
            state: State::Closed,
        }
    }

    /// Creates a provider that failures have opened for [`BACKOFF`].
    pub(crate) fn open(policy: Policy) -> Self {
        let mut scene = Self::closed(policy);
        while scene.health().state == State::Closed {
            scene.mark_unhealthy("down");
        }
        assert_eq!(scene.announced(), [State::Open]);
        scene
    }

    /// Creates a provider whose open window has just ended; nothing has read it since.
    pub(crate) fn half_open(policy: Policy) -> Self {
        let scene = Self::open(policy);
        advance(BACKOFF);
        scene
    }

    pub(crate) fn call(&self) -> Permit {
        self.admit().expect("admitted")
    }

    pub(crate) fn trial(&mut self) -> Permit {
        let permit = self.call();
        assert!(permit.is_trial());
        assert_eq!(self.announced(), [State::HalfOpen]);
        permit
    }

    /// Returns the states announced since the last call. Asserts that each transition starts where the one before ended, and that
    /// the last leads to the present state.
    pub(crate) fn announced(&mut self) -> Vec<State> {
        let now = self.health().state;
        let mut announced = Vec::new();
        while let Some(transition) = received(&mut self.transitions) {
            assert_eq!(transition.from, self.state);
            self.state = transition.to;
            announced.push(transition.to);
        }
        assert_eq!(self.state, now);
        announced
    }
}

fn received(transitions: &mut Transitions) -> Option<tower_health::Transition> {
    let next = pin!(unconstrained(transitions.recv()));
    match next.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => next,
        Poll::Pending => None,
    }
}

impl Deref for Scene {
    type Target = Provider;

    fn deref(&self) -> &Provider {
        &self.provider
    }
}

/// A service that never becomes ready.
pub(crate) struct Stuck;

impl Service<()> for Stuck {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}
