//! The inner service, and the adapters that make tower services of the breakers.
//!
//! failsafe and recloser have futures but no tower services. The adapters are minimal: the breaker's own future around
//! that of the inner service, and nothing in `poll_ready`.

use std::{
    error::Error,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use failsafe::{
    FailurePolicy, StateMachine, backoff, failure_policy,
    futures::{CircuitBreaker as _, ResponseFuture},
};
use recloser::{AnyError, AsyncRecloser, Recloser, RecloserFuture};
use tower::{Layer, Service};
use tower_health::{Backoff, Health, HealthCache, HealthLayer, Policy, Trip};

/// Longer than any measurement takes.
pub(crate) const OPEN_FOR: Duration = Duration::from_secs(600);

/// The inner service when it is healthy.
pub(crate) const WELL: Backend = Backend(Ok(()));
/// The inner service when it fails.
pub(crate) const ILL: Backend = Backend(Err(Down));

/// A service that is always ready and answers at once.
#[derive(Clone, Copy)]
pub(crate) struct Backend(Result<(), Down>);

impl Service<()> for Backend {
    type Response = ();
    type Error = Down;
    type Future = Ready<Result<(), Down>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(self.0)
    }
}

/// Like [`WELL`], but the answer comes at the second poll.
#[derive(Clone, Copy)]
pub(crate) struct Waits;

impl Service<()> for Waits {
    type Response = ();
    type Error = Down;
    type Future = AtSecondPoll;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> AtSecondPoll {
        AtSecondPoll(false)
    }
}

pub(crate) struct AtSecondPoll(bool);

impl Future for AtSecondPoll {
    type Output = Result<(), Down>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.0, true) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl Error for Down {}

pub(crate) fn health(trip: Trip, inner: Backend) -> Health<Backend> {
    guarded(Policy::new().trip(trip), inner)
}

pub(crate) fn guarded<S>(policy: Policy, inner: S) -> Health<S> {
    let policy = policy.backoff(Backoff::constant(OPEN_FOR));
    let provider = HealthCache::new(policy).provider("backend");
    HealthLayer::new(provider).layer(inner)
}

pub(crate) type ConsecutiveFailures = failure_policy::ConsecutiveFailures<backoff::Constant>;
pub(crate) type SuccessRate = failure_policy::SuccessRateOverTimeWindow<backoff::Constant>;

pub(crate) struct Failsafe<P> {
    inner: Backend,
    breaker: StateMachine<P, ()>,
}

impl<P: FailurePolicy> Failsafe<P> {
    pub(crate) fn new(policy: P, inner: Backend) -> Self {
        let breaker = failsafe::Config::new().failure_policy(policy).build();
        Self { inner, breaker }
    }
}

/// By hand, because the policy is shared and need not be `Clone`.
impl<P> Clone for Failsafe<P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner,
            breaker: self.breaker.clone(),
        }
    }
}

impl<P: FailurePolicy + Send + Sync> Service<()> for Failsafe<P> {
    type Response = ();
    type Error = failsafe::Error<Down>;
    type Future = ResponseFuture<Ready<Result<(), Down>>, P, (), failsafe::Any>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(context)
            .map_err(failsafe::Error::Inner)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.breaker.call(self.inner.call(()))
    }
}

#[derive(Clone)]
pub(crate) struct Reclosed {
    inner: Backend,
    breaker: AsyncRecloser,
}

impl Reclosed {
    pub(crate) fn new(breaker: Recloser, inner: Backend) -> Self {
        let breaker = breaker.into();
        Self { inner, breaker }
    }
}

impl Service<()> for Reclosed {
    type Response = ();
    type Error = recloser::Error<Down>;
    type Future = RecloserFuture<Ready<Result<(), Down>>, AnyError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(context)
            .map_err(recloser::Error::Inner)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.breaker.call(self.inner.call(()))
    }
}
