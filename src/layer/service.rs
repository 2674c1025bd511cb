use std::{
    fmt,
    sync::Arc,
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

/// A service whose calls are refused while its provider's breaker is open; made by
/// [`HealthLayer`](crate::HealthLayer).
///
/// It is ready whenever its breaker would refuse the next call, since that costs the inner service
/// nothing; otherwise when the inner service is.
///
/// # Errors
///
/// Calls fail with [`CircuitOpen`](crate::error::CircuitOpen) where they are refused, and otherwise
/// with the inner service's error, unchanged in its box. An error of the inner service's readiness is
/// recorded as the error of a call is by default: as a failure, or as neutral where its kind is
/// [neutral](crate::error::Kind::is_neutral).
///
/// # Panics
///
/// Calls panic where `poll_ready` has not returned `Ready(Ok(()))` before.
pub struct Health<S, C = ErrorsAsFailures> {
    inner: S,
    provider: Provider,
    layer: LayerId,
    classifier: C,
    readiness: Readiness,
    /// Wakes a task that waits for the inner service when there is no need to any more.
    admission_changed: Option<AdmissionChanged>,
}

/// What has been found ready since the last call.
// Together, so that a call clears both at once.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    /// The inner service has said that it is ready.
    is_inner: bool,
    /// This service has said that it is ready, because it would refuse the call: it must stay so.
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

    /// Whose calls these are.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed; one that was ready must stay so.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service alone.
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

    /// A window that ran out since `poll_ready` does not make an unready service callable.
    #[cold]
    fn refuse(&self) -> BoxError {
        assert!(
            self.readiness.is_to_refuse,
            "service not ready; poll_ready must be called first"
        );
        self.provider.breaker().refuse().into()
    }

    /// Ends when there is no need to wait for the inner service any more, because the breaker would refuse.
    fn poll_admission_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let breaker = self.provider.breaker();
        // Taken out, so that one whose timer panics is not polled again.
        let changed = self.admission_changed.take();
        let mut changed = changed.unwrap_or_else(|| Arc::clone(breaker).admission_changed());
        let is_unchanged = changed.as_mut().poll(cx).is_pending();
        // Looked at once more, now that no change can be missed.
        if is_unchanged && self.is_admitting() {
            self.admission_changed = Some(changed);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The inner service will never be ready again.
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
        // Not polled while the breaker refuses: what is down may never be ready, and its error would
        // be taken for the end of this service.
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
            // The inner service stays ready, where it is: it was not called.
            Err(refusal) => {
                self.readiness.is_to_refuse = false;
                ResponseFuture::refused(self.classifier.refused(refusal))
            }
        }
    }
}

/// By hand: a clone of a service that is ready is not.
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
