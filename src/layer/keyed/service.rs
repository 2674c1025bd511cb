use std::{
    fmt,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{key::Key, providers::Providers};
use crate::{
    layer::{classify::Classify, future::ResponseFuture},
    util::errors::BoxError,
};

/// Service that calls many providers, and refuses calls to a provider while its breaker is open. Created by
/// [`KeyedHealthLayer`](crate::KeyedHealthLayer).
///
/// It is ready when the inner service is. The provider of the next call is not known before the call. So an error from the inner
/// service's `poll_ready` counts against no provider, and even a call that will be refused waits for the inner service.
///
/// # Errors
///
/// [`CircuitOpen`](crate::error::CircuitOpen) if the call is refused; otherwise the inner service's error, boxed.
///
/// # Panics
///
/// A call before `poll_ready` has returned `Ready(Ok(()))` is passed to the inner service, which may panic, as most of tower's
/// services do.
#[derive(Clone)]
pub struct KeyedHealth<S, C, K> {
    inner: S,
    providers: Providers,
    key: K,
    classifier: C,
}

impl<S, C, K> KeyedHealth<S, C, K> {
    pub(super) fn new(inner: S, providers: Providers, key: K, classifier: C) -> Self {
        Self {
            inner,
            providers,
            key,
            classifier,
        }
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

impl<S, C, K, Req> Service<Req> for KeyedHealth<S, C, K>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response, S::Error> + Clone,
    K: Key<Req>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let providers = &mut self.providers;
        match self.key.with_key(&request, |key| providers.admit(key)) {
            Ok(permit) => {
                let classifier = self.classifier.clone();
                ResponseFuture::called(&mut self.inner, request, permit, classifier)
            }
            // The inner service was not called, so it stays ready.
            Err(refusal) => ResponseFuture::refused(self.classifier.refused(refusal)),
        }
    }
}

impl<S: fmt::Debug, C: fmt::Debug, K> fmt::Debug for KeyedHealth<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHealth")
            .field("inner", &self.inner)
            .field("classifier", &self.classifier)
            .finish_non_exhaustive()
    }
}
