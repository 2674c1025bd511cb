use std::task::{Context, Poll};

use tower_service::Service;

use super::{chain::FallbackChain, future::FallbackFuture, rule::Advance};
use crate::util::errors::BoxError;

impl<S, Req, R> Service<Req> for FallbackChain<S, Req, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    R: Advance<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = FallbackFuture<S, Req, R>;

    // The entries are not polled: which of them will be called is not known yet.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        FallbackFuture::new(self.clone(), request)
    }
}
