use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{HeaderMap, Request, request::Parts};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{body::ReplayBody, error::ReplayError};
use crate::util::errors::BoxError;

pin_project! {
    /// Reads a request body to its end.
    pub(super) struct Reading<B> {
        head: Option<Parts>,
        #[pin]
        body: B,
        read: Read,
        limit: usize,
    }
}

/// The part of a body read so far.
#[derive(Default)]
struct Read {
    /// The first data frame. Most bodies have only one, which is not copied.
    first: Bytes,
    /// All data, joined once there is a second frame: many small frames would take more memory than their data.
    joined: BytesMut,
    trailers: Option<HeaderMap>,
}

impl<B> Reading<B> {
    pub(super) fn new(request: Request<B>, limit: usize) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head: Some(head),
            body,
            read: Read::default(),
            limit,
        }
    }
}

impl<B> Future for Reading<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Request<ReplayBody>, ReplayError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let limit = *this.limit;
        loop {
            // Checked before polling: an announced size may already exceed the limit.
            if this.read.size_with(this.body.size_hint().lower()) > limit as u64 {
                return Poll::Ready(Err(ReplayError::TooLarge { limit }));
            }
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => this.read.add(frame, limit)?,
                Some(Err(error)) => {
                    return Poll::Ready(Err(ReplayError::Unreadable(error.into())));
                }
                None => break,
            }
        }
        let head = this
            .head
            .take()
            .expect("`ReplayFuture` polled after completion");
        let body = mem::take(this.read).into_body();
        Poll::Ready(Ok(Request::from_parts(head, body)))
    }
}

impl Read {
    fn add<D: Buf>(&mut self, frame: Frame<D>, limit: usize) -> Result<(), ReplayError> {
        match frame.into_data() {
            Ok(data) if self.size_with(data.remaining() as u64) > limit as u64 => {
                Err(ReplayError::TooLarge { limit })
            }
            Ok(data) => {
                self.append(data);
                Ok(())
            }
            Err(other) => {
                self.trailers = other.into_trailers().ok();
                Ok(())
            }
        }
    }

    fn append(&mut self, mut data: impl Buf) {
        if self.size_with(0) == 0 {
            self.first = data.copy_to_bytes(data.remaining());
            return;
        }
        self.joined.put(mem::take(&mut self.first));
        self.joined.put(data);
    }

    fn size_with(&self, more: u64) -> u64 {
        let size = self.first.len() + self.joined.len();
        more.saturating_add(size as u64)
    }

    fn into_body(self) -> ReplayBody {
        let data = if self.joined.is_empty() {
            self.first
        } else {
            self.joined.freeze()
        };
        ReplayBody::new(data, self.trailers)
    }
}
