use std::task::{Context, Poll};

use ::http::Method;
use http_body::Body;
use tower_service::Service;

use super::{
    future::PeekFuture,
    watch::{FirstFrame, Watch},
};
use crate::http::{
    bounds::Bounds,
    message::{HttpRequest, HttpResponse},
};
use crate::util::errors::BoxError;

/// Holds responses back until their bodies have begun. Created by [`PeekLayer`](super::PeekLayer).
///
/// The body must be `Unpin`, because two readers poll it in turn. The bodies of most clients are; box others.
///
/// # Errors
///
/// [`PeekError`](super::PeekError) if a body does not begin. Otherwise the boxed error of the inner service, or of a
/// body that breaks before it begins.
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

impl<S, W, Req, Res, B> Service<Req> for Peek<S, W>
where
    S: Service<Req, Response = Res>,
    S::Error: Into<BoxError>,
    Req: HttpRequest,
    Res: HttpResponse<Body = B>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    W: Watch<B::Data>,
{
    type Response = Res::Peeked;
    type Error = BoxError;
    type Future = PeekFuture<S::Future, B, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let has_no_content = [Method::HEAD, Method::CONNECT].contains(request.method());
        let watch = (!has_no_content).then(|| self.watch.clone());
        PeekFuture::new(self.inner.call(request), watch, self.bounds)
    }
}
