use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;
use tower_service::Service;

use super::{
    future::ReadErrorsFuture,
    verdict::{ErrorResponse, ErrorVerdict},
};
use crate::http::{bounds::Bounds, message::HttpResponse};

/// Reads error responses before it returns them. Created by [`ReadErrorsLayer`](super::ReadErrorsLayer).
///
/// The body must be `Unpin`, because two readers poll it in turn. The bodies of most clients are; box others.
///
/// # Errors
///
/// The errors of the inner service.
#[derive(Clone, Copy)]
pub struct ReadErrors<S, F> {
    inner: S,
    judge: F,
    bounds: Bounds,
}

impl<S, F> ReadErrors<S, F> {
    pub(super) fn new(inner: S, judge: F, bounds: Bounds) -> Self {
        Self {
            inner,
            judge,
            bounds,
        }
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

impl<S, F, Req, Res, B> Service<Req> for ReadErrors<S, F>
where
    S: Service<Req, Response = Res>,
    Res: HttpResponse<Body = B>,
    F: Fn(&ErrorResponse<'_>) -> ErrorVerdict + Clone,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Res::Peeked;
    type Error = S::Error;
    type Future = ReadErrorsFuture<S::Future, B, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ReadErrorsFuture::new(self.inner.call(request), self.judge.clone(), self.bounds)
    }
}

impl<S: fmt::Debug, F> fmt::Debug for ReadErrors<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadErrors")
            .field("inner", &self.inner)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
