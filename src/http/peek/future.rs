use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{body::PeekBody, peeking::Peeking, watch::Watch};
use crate::http::{bounds::Bounds, message::HttpResponse};
use crate::util::errors::BoxError;

pin_project! {
    /// The response future of [`Peek`](super::Peek).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the call, or the response with everything held back of it.
    pub struct PeekFuture<F, B, W>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B, W>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, W>
    where
        B: Body,
    {
        Called { #[pin] call: F, watch: Option<W>, bounds: Bounds },
        Peeking { #[pin] peeking: Peeking<B, W> },
    }
}

impl<F, B: Body, W> PeekFuture<F, B, W> {
    pub(super) fn new(call: F, watch: Option<W>, bounds: Bounds) -> Self {
        Self {
            state: State::Called {
                call,
                watch,
                bounds,
            },
        }
    }
}

impl<F, Res, B, W, E> Future for PeekFuture<F, B, W>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
    Res: HttpResponse<Body = B>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    W: Watch<B::Data>,
{
    type Output = Result<Res::Peeked, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let peeking = match state.as_mut().project() {
                StateProj::Peeking { peeking } => return peeking.poll(cx).map_ok(Res::peeked),
                StateProj::Called {
                    call,
                    watch,
                    bounds,
                } => {
                    let response = ready!(call.poll(cx)).map_err(Into::into)?;
                    let response = response.into_http().map(PeekBody::new);
                    match watch.take().filter(|watch| is_watched(watch, &response)) {
                        Some(watch) => Peeking::new(response, watch, *bounds),
                        None => return Poll::Ready(Ok(Res::peeked(response))),
                    }
                }
            };
            state.set(State::Peeking { peeking });
        }
    }
}

fn is_watched<D, B>(watch: &impl Watch<D>, response: &Response<B>) -> bool {
    let status = response.status();
    let has_no_content = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status);
    status.is_success() && !has_no_content && watch.concerns(response.headers())
}

impl<F, B: Body, W> fmt::Debug for PeekFuture<F, B, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekFuture").finish_non_exhaustive()
    }
}
