use std::task::{Context, Poll};

use ::http::Request;
use http_body::Body;
use tower_service::Service;

use super::{body::ReplayBody, future::ReplayFuture};
use crate::util::errors::BoxError;

/// Sends requests with buffered bodies, which can be cloned. Created by [`ReplayLayer`](super::ReplayLayer).
///
/// Always ready: it waits for the inner service's readiness after reading the body. So callers that send slowly do
/// not occupy the inner service.
///
/// # Errors
///
/// [`ReplayError`](super::ReplayError) if the body is too large or cannot be read; the inner service is not called.
/// Otherwise the boxed error of the inner service.
///
/// # Cancel safety
///
/// A future dropped while the body is being read sends nothing; dropped later, it drops the inner call.
#[derive(Clone, Debug)]
pub struct Replay<S> {
    inner: S,
    limit: usize,
}

impl<S> Replay<S> {
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self { inner, limit }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
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

    // The inner service is not polled here: `call` polls and calls a clone.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ReplayFuture::new(self.inner.clone(), request, self.limit)
    }
}
