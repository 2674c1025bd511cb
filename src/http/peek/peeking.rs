use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::Response;
use bytes::Buf;
use http_body::{Body, Frame};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::{body::PeekBody, content::Content, error::PeekError, watch::Watch};
use crate::http::bounds::Bounds;
use crate::util::errors::BoxError;

const COMPLETED: &str = "`PeekFuture` polled after completion";

pin_project! {
    /// Resolves to a held response once its body has begun, or to an error.
    pub(super) struct Peeking<B, W>
    where
        B: Body,
    {
        response: Option<Response<PeekBody<B>>>,
        watch: W,
        bounds: Bounds,
        // Size of the held frames for `Bounds::up_to`.
        held: usize,
        // Bytes still missing from what the size hint announced.
        missing: u64,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B: Body, W> Peeking<B, W> {
    pub(super) fn new(response: Response<PeekBody<B>>, watch: W, bounds: Bounds) -> Self {
        let missing = response.body().size_hint().lower();
        Self {
            response: Some(response),
            watch,
            bounds,
            held: 0,
            missing,
            timer: None,
        }
    }
}

impl<B, W> Future for Peeking<B, W>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    W: Watch<B::Data>,
{
    type Output = Result<Response<PeekBody<B>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().poll_content(cx)? {
                Poll::Ready(Content::NotYet) => {}
                Poll::Ready(Content::Begun) => {
                    let response = self.project().response.take();
                    return Poll::Ready(Ok(response.expect(COMPLETED)));
                }
                Poll::Ready(Content::Broken(reason)) => {
                    return Poll::Ready(Err(PeekError::Broken(reason).into()));
                }
                Poll::Ready(Content::Throttled {
                    retry_after,
                    reason,
                }) => {
                    let error = PeekError::Throttled {
                        retry_after,
                        reason,
                    };
                    return Poll::Ready(Err(error.into()));
                }
                Poll::Pending => return self.poll_timeout(cx).map(|error| Err(error.into())),
            }
        }
    }
}

impl<B, W> Peeking<B, W>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
    W: Watch<B::Data>,
{
    /// Polls the next frame and inspects it.
    fn poll_content(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Content, BoxError>> {
        let this = self.project();
        let body = this.response.as_mut().expect(COMPLETED).body_mut();
        let Some(frame) = ready!(body.poll_hold(cx)?) else {
            return Poll::Ready(match *this.missing {
                1.. => Err(PeekError::Incomplete.into()),
                0 if this.watch.may_end() => Ok(Content::Begun),
                0 => Err(PeekError::Ended.into()),
            });
        };
        let (content, size) = match data_of(frame) {
            Some(data) => (this.watch.look(data), data.remaining()),
            None => (Content::NotYet, 0),
        };
        *this.missing = this.missing.saturating_sub(size as u64);
        *this.held = this.held.saturating_add(size.max(1));
        let is_full = *this.held >= this.bounds.up_to;
        Poll::Ready(Ok(match content {
            Content::NotYet if is_full => Content::Begun,
            verdict => verdict,
        }))
    }

    /// Starts the timer at the first wait: most bodies begin together with their heads, and need none.
    fn poll_timeout(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PeekError> {
        let mut this = self.project();
        let within = this.bounds.within;
        if this.timer.is_none() {
            this.timer.set(Some(sleep(within)));
        }
        let timer = this.timer.as_pin_mut().expect("the timer is set above");
        timer.poll(cx).map(|()| PeekError::TimedOut(within))
    }
}

/// The data of a frame, unless it is empty.
fn data_of<D: Buf>(frame: &Frame<D>) -> Option<&D> {
    frame.data_ref().filter(|data| data.has_remaining())
}
