use std::{fmt, mem};

use ::http::HeaderMap;
use bytes::{Buf, Bytes};

use super::content::Content;
use crate::http::sse::{self, Parser, SseEvent};

mod sealed {
    pub trait Sealed {}
}

/// Detects the beginning of one body, for a [`PeekLayer`](super::PeekLayer): [`FirstFrame`], [`Whole`],
/// [`FirstContent`] or [`FirstSseEvent`]. `D` is the type of the body's data.
///
/// Sealed: public only so that bounds can name it.
// The layer's own watch never sees a body; each call uses a clone.
pub trait Watch<D>: Clone + sealed::Sealed {
    /// Returns whether to hold back a response with these headers.
    fn concerns(&self, _headers: &HeaderMap) -> bool {
        true
    }

    /// Inspects the data of the next frame, which is not empty.
    fn look(&mut self, data: &D) -> Content;

    /// Returns whether a body that ends before its content has begun is returned.
    fn may_end(&self) -> bool;
}

/// Detects the first data of a body; see [`PeekLayer::first_frame`](super::PeekLayer::first_frame).
#[derive(Clone, Copy, Debug)]
pub struct FirstFrame;

impl sealed::Sealed for FirstFrame {}

impl<D: Buf> Watch<D> for FirstFrame {
    fn look(&mut self, _data: &D) -> Content {
        Content::Begun
    }

    fn may_end(&self) -> bool {
        true
    }
}

/// Detects the end of a body; see [`PeekLayer::whole`](super::PeekLayer::whole).
#[derive(Clone, Copy, Debug)]
pub struct Whole;

impl sealed::Sealed for Whole {}

impl<D: Buf> Watch<D> for Whole {
    fn concerns(&self, headers: &HeaderMap) -> bool {
        !is_streamed(headers)
    }

    fn look(&mut self, _data: &D) -> Content {
        Content::NotYet
    }

    fn may_end(&self) -> bool {
        true
    }
}

/// Calls a closure with all bytes so far; see [`PeekLayer::first_content`](super::PeekLayer::first_content).
#[derive(Clone)]
pub struct FirstContent<F> {
    judge: F,
    /// The first piece of data. It is copied only when a second piece arrives.
    first: Bytes,
    joined: Vec<u8>,
}

impl<F> FirstContent<F> {
    pub(super) fn new(judge: F) -> Self {
        Self {
            judge,
            first: Bytes::new(),
            joined: Vec::new(),
        }
    }

    fn see(&mut self, data: &Bytes) {
        if self.seen().is_empty() {
            self.first = data.clone();
        } else {
            self.joined.extend_from_slice(&mem::take(&mut self.first));
            self.joined.extend_from_slice(data);
        }
    }

    fn seen(&self) -> &[u8] {
        if self.joined.is_empty() {
            &self.first
        } else {
            &self.joined
        }
    }
}

impl<F> sealed::Sealed for FirstContent<F> {}

impl<F> Watch<Bytes> for FirstContent<F>
where
    F: Fn(&[u8]) -> Content + Clone,
{
    fn concerns(&self, headers: &HeaderMap) -> bool {
        !sse::is_compressed(headers)
    }

    fn look(&mut self, data: &Bytes) -> Content {
        self.see(data);
        (self.judge)(self.seen())
    }

    fn may_end(&self) -> bool {
        false
    }
}

/// Calls a closure with each server-sent event; see
/// [`PeekLayer::first_sse_event`](super::PeekLayer::first_sse_event).
#[derive(Clone)]
pub struct FirstSseEvent<F> {
    judge: F,
    parser: Parser,
    /// Whether an event with data has arrived.
    has_data: bool,
}

impl<F> FirstSseEvent<F> {
    pub(super) fn new(judge: F) -> Self {
        Self {
            judge,
            parser: Parser::new(),
            has_data: false,
        }
    }
}

impl<F> sealed::Sealed for FirstSseEvent<F> {}

impl<F> Watch<Bytes> for FirstSseEvent<F>
where
    F: Fn(&SseEvent<'_>) -> Content + Clone,
{
    fn concerns(&self, headers: &HeaderMap) -> bool {
        sse::is_readable(headers)
    }

    fn look(&mut self, data: &Bytes) -> Content {
        let mut bytes = &**data;
        while let Some(event) = self.parser.read(&mut bytes) {
            self.has_data |= !event.data.is_empty();
            let content = (self.judge)(&event);
            if content != Content::NotYet {
                return content;
            }
        }
        Content::NotYet
    }

    /// An answer may be empty: the provider has sent data.
    fn may_end(&self) -> bool {
        self.has_data
    }
}

/// Returns whether the media type is a streaming format.
fn is_streamed(headers: &HeaderMap) -> bool {
    const STREAMED: [&[u8]; 4] = [
        b"text/event-stream",
        b"application/x-ndjson",
        b"application/jsonl",
        b"application/vnd.amazon.eventstream",
    ];
    let media_type = sse::media_type(headers).unwrap_or_default();
    STREAMED
        .iter()
        .any(|streamed| media_type.eq_ignore_ascii_case(streamed))
}

impl<F> fmt::Debug for FirstContent<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstContent").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for FirstSseEvent<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstSseEvent").finish_non_exhaustive()
    }
}
