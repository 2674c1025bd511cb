use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

/// A body that sends these frames, each after a pause, and then this ending.
#[derive(Debug)]
pub struct Script {
    frames: VecDeque<Bytes>,
    ending: Option<Ending>,
    has_paused: bool,
}

#[derive(Clone, Debug)]
pub enum Ending {
    Plain,
    /// `is_end_stream` announces the end.
    Announced,
    Trailers(HeaderMap),
    Reset,
    /// The body never ends.
    Silence,
}

#[derive(Clone, Copy, Debug)]
pub struct Reset;

impl Script {
    pub fn new(frames: impl IntoIterator<Item = Bytes>, ending: Ending) -> Self {
        Self {
            frames: frames.into_iter().collect(),
            ending: Some(ending),
            has_paused: false,
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        self.has_paused = !self.has_paused;
        if self.has_paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(data) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(match self.ending.take() {
            Some(Ending::Silence) => {
                self.ending = Some(Ending::Silence);
                return Poll::Pending;
            }
            Some(Ending::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Ending::Reset) => Some(Err(Reset)),
            Some(Ending::Plain | Ending::Announced) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && matches!(self.ending, Some(Ending::Announced))
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset by peer")
    }
}

impl Error for Reset {}
