use std::task::{Context, Poll};

use ::http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    body::PeekBody,
    future::PeekFuture,
    watch::{FirstFrame, Watch},
};
use crate::http::bounds::Bounds;
use crate::util::errors::BoxError;

/// A service whose responses are held back until their bodies have begun; made by
/// [`PeekLayer`](super::PeekLayer).
///
/// The body must be `Unpin`, as those of clients are: it is read first here, and then by the caller.
/// Others are once they are boxed.
///
/// # Errors
///
/// Calls fail with [`PeekError`](super::PeekError) where a body does not begin, and otherwise with
/// the inner service's error, or that of a body which broke before it began, unchanged in its box.
#[derive(Clone, Debug)]
pub struct Peek<S, W = FirstFrame> {
    inner: S,
    watch: W,
    bounds: Bounds,
}

impl<S, W> Peek<S, W> {
    pub(super) fn new(inner: S, watch: W, bounds: Bounds) -> Self {
        Self {
            inner,
            watch,
            bounds,
        }
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

impl<S, W, ReqBody, ResBody> Service<Request<ReqBody>> for Peek<S, W>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: Into<BoxError>,
    ResBody: Body + Unpin,
    ResBody::Error: Into<BoxError>,
    W: Watch<ResBody::Data>,
{
    type Response = Response<PeekBody<ResBody>>;
    type Error = BoxError;
    type Future = PeekFuture<S::Future, ResBody, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let has_no_content = [Method::HEAD, Method::CONNECT].contains(request.method());
        let watch = (!has_no_content).then(|| self.watch.clone());
        PeekFuture::new(self.inner.call(request), watch, self.bounds)
    }
}
