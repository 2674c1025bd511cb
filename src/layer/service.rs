use std::{
    fmt,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    classify::{Classify, ErrorsAsFailures},
    future::ResponseFuture,
    reentrancy,
};
use crate::{
    breaker::{AdmissionChanged, LayerId, Permit},
    cache::Provider,
    outcome::Outcome,
    util::errors::BoxError,
};

/// Service that refuses calls while its provider's breaker is open. Created by [`HealthLayer`](crate::HealthLayer).
///
/// While the breaker would refuse the next call, the service is ready, and the inner service is not polled. Otherwise it is ready
/// when the inner service is.
///
/// # Errors
///
/// [`CircuitOpen`](crate::error::CircuitOpen) if the call is refused; otherwise the inner service's error, boxed.
///
/// If `poll_ready` of the inner service fails, the error is recorded as a failure, or as neutral if its kind is
/// [neutral](crate::error::Kind::is_neutral). The classifier is not called.
///
/// # Panics
///
/// `call` panics unless `poll_ready` has returned `Ready(Ok(()))` first.
pub struct Health<S, C = ErrorsAsFailures> {
    inner: S,
    provider: Provider,
    layer: LayerId,
    classifier: C,
    readiness: Readiness,
    /// When the breaker starts to refuse, wakes the task that waits for the inner service.
    admission_changed: Option<AdmissionChanged>,
}

/// Readiness reported since the last call.
// One struct, so that a call clears both flags at once.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    /// The inner service is ready.
    is_inner: bool,
    /// This service reported ready because it would refuse the call, and must stay ready.
    is_to_refuse: bool,
}

impl<S, C> Health<S, C> {
    pub(crate) fn new(inner: S, provider: Provider, classifier: C) -> Self {
        Self::of_layer(LayerId::new(), inner, provider, classifier)
    }

    fn of_layer(layer: LayerId, inner: S, provider: Provider, classifier: C) -> Self {
        Self {
            inner,
            provider,
            layer,
            classifier,
            readiness: Readiness::default(),
            admission_changed: None,
        }
    }

    /// Returns the provider that this service calls.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service. If it was ready, it must stay ready.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C> Health<S, C> {
    fn is_admitting(&self) -> bool {
        reentrancy::is_admitting(&self.provider)
    }

    #[inline]
    fn admit(&self) -> Result<Permit, BoxError> {
        if self.readiness.is_inner {
            reentrancy::admit(&self.provider, self.layer)
        } else {
            Err(self.refuse())
        }
    }

    /// Refuses even if the open window has ended since `poll_ready`: the inner service is not ready.
    #[cold]
    fn refuse(&self) -> BoxError {
        assert!(
            self.readiness.is_to_refuse,
            "service not ready; poll_ready must be called first"
        );
        self.provider.refuse().into()
    }

    /// Completes when the breaker starts to refuse, so that waiting for the inner service is no longer needed.
    fn poll_admission_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Taken out, so that a future whose timer panicked is not polled again.
        let changed = self.admission_changed.take();
        let mut changed = changed.unwrap_or_else(|| self.provider.admission_changed());
        let is_unchanged = changed.as_mut().poll(cx).is_pending();
        // Checked again, in case the breaker changed before the future was registered.
        if is_unchanged && self.is_admitting() {
            self.admission_changed = Some(changed);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Records an error of the inner service's `poll_ready`. After that, the inner service is never ready again.
    fn fail(&mut self, error: BoxError) -> BoxError {
        self.readiness.is_inner = false;
        if let Ok(permit) = reentrancy::admit(&self.provider, self.layer) {
            permit.record_with(|| Outcome::of_error(&error));
        }
        error
    }
}

impl<S, C, Req> Service<Req> for Health<S, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Not polled while the breaker refuses: a provider that is down may never be ready, and callers discard a service whose
        // `poll_ready` fails.
        while self.is_admitting() {
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.readiness.is_inner = true;
                    if self.admission_changed.is_some() {
                        self.admission_changed = None;
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error.into()))),
                Poll::Pending if self.readiness.is_to_refuse => return Poll::Ready(Ok(())),
                Poll::Pending => ready!(self.poll_admission_changed(cx)),
            }
        }
        self.readiness.is_to_refuse = true;
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.admit() {
            Ok(permit) => {
                self.readiness = Readiness::default();
                let classifier = self.classifier.clone();
                ResponseFuture::called(&mut self.inner, request, permit, classifier)
            }
            // The inner service was not called; if it was ready, it still is.
            Err(refusal) => {
                self.readiness.is_to_refuse = false;
                ResponseFuture::refused(self.classifier.refused(refusal))
            }
        }
    }
}

/// Not derived: the clone of a ready service is not ready.
impl<S: Clone, C: Clone> Clone for Health<S, C> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        let (provider, classifier) = (self.provider.clone(), self.classifier.clone());
        Self::of_layer(self.layer, inner, provider, classifier)
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Health<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("inner", &self.inner)
            .field("provider", &self.provider)
            .field("classifier", &self.classifier)
            .finish_non_exhaustive()
    }
}
