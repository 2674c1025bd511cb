use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::{
    chain::FallbackChain,
    rule::Advance,
    state::{FallbackState, Stage},
};
use crate::util::{errors::BoxError, time::after};

pin_project! {
    /// Response future of [`FallbackChain`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it before completion drops the call in flight and its permit.
    pub struct FallbackFuture<S, Req, R>
    where
        S: Service<Req>,
    {
        state: FallbackState<S, Req, R, S::Response>,
        #[pin]
        stage: Stage<S, S::Future>,
        #[pin]
        deadline: Option<Sleep>,
    }
}

impl<S: Service<Req>, Req, R> FallbackFuture<S, Req, R> {
    #[inline]
    pub(super) fn new(chain: FallbackChain<S, Req, R>, request: Req) -> Self {
        let deadline = chain.deadline.map(|limit| after(Instant::now(), limit));
        Self {
            state: FallbackState::new(chain, request, deadline),
            stage: Stage::Choosing,
            deadline: deadline.map(sleep_until),
        }
    }
}

impl<S, Req, R> Future for FallbackFuture<S, Req, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    R: Advance<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut polled = this.state.poll(this.stage.as_mut(), cx);
        if polled.is_pending() {
            let Some(deadline) = this.deadline.as_pin_mut() else {
                return Poll::Pending;
            };
            ready!(deadline.poll(cx));
            polled = Poll::Ready(this.state.exceed_deadline());
        }
        this.stage.set(Stage::Completed);
        polled
    }
}

impl<S: Service<Req>, Req, R> fmt::Debug for FallbackFuture<S, Req, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackFuture").finish_non_exhaustive()
    }
}
