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

/// A service that calls many providers, and whose calls to one are refused while its breaker is
/// open; made by [`KeyedHealthLayer`](crate::KeyedHealthLayer).
///
/// It is ready when the inner service is. Which provider the next call is for is not known before, so
/// that an error of the inner service's readiness counts against nobody, and a refusal waits for it.
///
/// # Errors
///
/// Calls fail with [`CircuitOpen`](crate::error::CircuitOpen) where they are refused, and otherwise
/// with the inner service's error, unchanged in its box.
///
/// # Panics
///
/// A call before `poll_ready` has returned `Ready(Ok(()))` reaches the inner service, which may panic, as
/// most of tower's do.
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
            // The inner service stays ready: it was not called.
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
