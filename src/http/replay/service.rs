use std::task::{Context, Poll};

use ::http::Request;
use http_body::Body;
use tower_service::Service;

use super::{body::ReplayBody, future::ReplayFuture};
use crate::util::errors::BoxError;

/// A service whose inner one is given requests that can be cloned; made by
/// [`ReplayLayer`](super::ReplayLayer).
///
/// It is always ready, and waits for the inner service's readiness once a body has been read: callers
/// who send slowly hold none of its capacity.
///
/// # Errors
///
/// [`ReplayError`](super::ReplayError) where the body is too large or could not be read, and the inner
/// service was not called; otherwise the inner service's error, unchanged in its box.
///
/// # Cancel safety
///
/// Dropping the future before the body has been read sends nothing; later it drops the inner call.
#[derive(Clone, Debug)]
pub struct Replay<S> {
    inner: S,
    limit: usize,
}

impl<S> Replay<S> {
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self { inner, limit }
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service alone.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for Replay<S>
where
    S: Service<Request<ReplayBody>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ReplayFuture<S, B>;

    // Not asked of the inner service: it is a clone that will be called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ReplayFuture::new(self.inner.clone(), request, self.limit)
    }
}
