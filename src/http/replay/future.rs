use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::Request;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{body::ReplayBody, reading::Reading};
use crate::util::errors::BoxError;

pin_project! {
    /// The response future of [`Replay`](super::Replay).
    ///
    /// # Cancel safety
    ///
    /// Dropped while the body is being read, it sends nothing; dropped later, it drops the inner call.
    pub struct ReplayFuture<S, B>
    where
        S: Service<Request<ReplayBody>>,
    {
        service: S,
        #[pin]
        stage: Stage<S::Future, B>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, B> {
        Reading { #[pin] reading: Reading<B> },
        Readying { request: Option<Request<ReplayBody>> },
        Calling { #[pin] call: F },
    }
}

impl<S, B> ReplayFuture<S, B>
where
    S: Service<Request<ReplayBody>>,
{
    pub(super) fn new(service: S, request: Request<B>, limit: usize) -> Self {
        let reading = Reading::new(request, limit);
        Self {
            service,
            stage: Stage::Reading { reading },
        }
    }
}

impl<S, B> Future for ReplayFuture<S, B>
where
    S: Service<Request<ReplayBody>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Reading { reading } => Stage::Readying {
                    request: Some(ready!(reading.poll(cx))?),
                },
                StageProj::Readying { request } => {
                    ready!(this.service.poll_ready(cx)).map_err(Into::into)?;
                    let request = request
                        .take()
                        .expect("`ReplayFuture` polled after completion");
                    Stage::Calling {
                        call: this.service.call(request),
                    }
                }
                StageProj::Calling { call } => return call.poll(cx).map_err(Into::into),
            };
            this.stage.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ReplayFuture<S, B>
where
    S: Service<Request<ReplayBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFuture").finish_non_exhaustive()
    }
}
