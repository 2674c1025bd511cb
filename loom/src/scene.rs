//! One provider, and somebody who listens.

use std::{
    ops::Deref,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::task::unconstrained;
use tower_health::{HealthCache, Permit, Policy, Provider, State, Transitions, Trials, Trip};

use crate::explorer::advance;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For how long it stays open.
pub(crate) const BACKOFF: Duration = Duration::from_secs(60);

/// Trips at so many failures in a row.
pub(crate) fn trips_at(failures: u32) -> Policy {
    Policy::new().trip(Trip::consecutive(failures))
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

    /// For [`BACKOFF`], after failures.
    pub(crate) fn open(policy: Policy) -> Self {
        let mut scene = Self::closed(policy);
        while scene.health().state == State::Closed {
            scene.mark_unhealthy("down");
        }
        assert_eq!(scene.news(), [State::Open]);
        scene
    }

    /// Its open window has just run out, and nobody has looked since.
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
        assert_eq!(self.news(), [State::HalfOpen]);
        permit
    }

    /// The states that were announced since this was last asked, after making sure that each began
    /// where the one before had ended, and that the last is that of now.
    pub(crate) fn news(&mut self) -> Vec<State> {
        let now = self.health().state;
        let mut news = Vec::new();
        while let Some(transition) = received(&mut self.transitions) {
            assert_eq!(transition.from, self.state);
            self.state = transition.to;
            news.push(transition.to);
        }
        assert_eq!(self.state, now);
        news
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
