use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::util::errors::BoxError;

pin_project! {
    /// The response body of [`Peek`](super::Peek) and [`ReadErrors`](crate::http::ReadErrors). Yields the held
    /// frames, unchanged, then the rest.
    pub struct PeekBody<B>
    where
        B: Body,
    {
        held: VecDeque<Frame<B::Data>>,
        // The error that ended the body while it was held back.
        broken: Option<B::Error>,
        // Bytes in the held frames. Cached, because readers ask for the size hint at each frame.
        held_len: u64,
        is_over: bool,
        #[pin]
        inner: B,
    }
}

impl<B: Body> PeekBody<B> {
    pub(in crate::http) fn new(inner: B) -> Self {
        Self {
            held: VecDeque::new(),
            broken: None,
            held_len: 0,
            is_over: false,
            inner,
        }
    }

    /// Polls the next frame and holds it back. `None` at the end of the body.
    pub(super) fn poll_hold(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<&Frame<B::Data>>, BoxError>>
    where
        B: Unpin,
        B::Error: Into<BoxError>,
    {
        ready!(self.poll_more(cx));
        match self.broken.take() {
            Some(error) => Poll::Ready(Err(error.into())),
            None => Poll::Ready(Ok(self.last_held())),
        }
    }

    /// Like `poll_hold`, but holds an error back too, and then returns `None`.
    pub(in crate::http) fn poll_keep(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<&Frame<B::Data>>>
    where
        B: Unpin,
    {
        ready!(self.poll_more(cx));
        Poll::Ready(self.last_held())
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        B: Unpin,
    {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.held_len = self.held_len.saturating_add(data_len(&frame));
                self.held.push_back(frame);
            }
            Some(Err(error)) => {
                self.broken = Some(error);
                self.is_over = true;
            }
            None => self.is_over = true,
        }
        Poll::Ready(())
    }

    fn last_held(&self) -> Option<&Frame<B::Data>> {
        self.held.back().filter(|_| !self.is_over)
    }
}

impl<B: Body> Body for PeekBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(frame) = this.held.pop_front() {
            *this.held_len = this.held_len.saturating_sub(data_len(&frame));
            if this.held.is_empty() {
                // Frees the buffer: a stream may continue for hours.
                *this.held = VecDeque::new();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        // A body may panic if polled after its end.
        if *this.is_over {
            return Poll::Ready(None);
        }
        this.inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = || self.is_over || self.inner.is_end_stream();
        self.held.is_empty() && self.broken.is_none() && has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held_len;
        let rest = if self.broken.is_some() {
            // Less than announced, by an unknown amount.
            SizeHint::default()
        } else if self.is_over {
            SizeHint::with_exact(0)
        } else {
            self.inner.size_hint()
        };
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            whole.set_upper(upper);
        }
        whole
    }
}

fn data_len(frame: &Frame<impl Buf>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}

impl<B: Body> fmt::Debug for PeekBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekBody")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}
