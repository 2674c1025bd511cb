use std::{fmt, mem};

use ::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use bytes::{Buf, Bytes, BytesMut};

use super::{Content, SseEvent, sse::Parser};

/// Watches one body for its beginning. A layer's own has seen nothing; each call watches with a clone.
pub trait Watch<D>: Clone {
    /// Whether a body may end without content.
    const MAY_BE_EMPTY: bool;

    /// Whether a response with these headers is one to be watched.
    fn concerns(&self, _headers: &HeaderMap) -> bool {
        true
    }

    /// Looks at the data of the next frame, which is not empty.
    fn look(&mut self, data: &D) -> Content;
}

/// The body has begun with its first data; see [`PeekLayer::first_frame`](super::PeekLayer::first_frame).
#[derive(Clone, Copy, Debug)]
pub struct FirstFrame;

impl<D: Buf> Watch<D> for FirstFrame {
    const MAY_BE_EMPTY: bool = true;

    fn look(&mut self, _data: &D) -> Content {
        Content::Begun
    }
}

/// A closure decides; see [`PeekLayer::first_content`](super::PeekLayer::first_content).
#[derive(Clone)]
pub struct FirstContent<F> {
    judge: F,
    seen: Bytes,
}

impl<F> FirstContent<F> {
    pub(super) fn new(judge: F) -> Self {
        Self {
            judge,
            seen: Bytes::new(),
        }
    }

    /// Copies nothing until there is a second piece to join to the first.
    fn see(&mut self, data: &Bytes) {
        if self.seen.is_empty() {
            self.seen = data.clone();
        } else {
            let mut joined = BytesMut::from(mem::take(&mut self.seen));
            joined.extend_from_slice(data);
            self.seen = joined.freeze();
        }
    }
}

impl<F> Watch<Bytes> for FirstContent<F>
where
    F: Fn(&[u8]) -> Content + Clone,
{
    const MAY_BE_EMPTY: bool = false;

    fn look(&mut self, data: &Bytes) -> Content {
        self.see(data);
        (self.judge)(&self.seen)
    }
}

/// A closure decides, event by event; see
/// [`PeekLayer::first_sse_event`](super::PeekLayer::first_sse_event).
#[derive(Clone)]
pub struct FirstSseEvent<F> {
    judge: F,
    parser: Parser,
}

impl<F> FirstSseEvent<F> {
    pub(super) fn new(judge: F) -> Self {
        Self {
            judge,
            parser: Parser::default(),
        }
    }
}

impl<F> Watch<Bytes> for FirstSseEvent<F>
where
    F: Fn(&SseEvent<'_>) -> Content + Clone,
{
    const MAY_BE_EMPTY: bool = false;

    fn concerns(&self, headers: &HeaderMap) -> bool {
        headers.get(CONTENT_TYPE).is_none_or(is_event_stream)
    }

    fn look(&mut self, data: &Bytes) -> Content {
        for byte in data {
            let content = match self.parser.push(*byte) {
                Some(event) => (self.judge)(&event),
                None => Content::NotYet,
            };
            if content != Content::NotYet {
                return content;
            }
        }
        Content::NotYet
    }
}

/// Whether this media type, its parameters aside, is that of server-sent events.
fn is_event_stream(content_type: &HeaderValue) -> bool {
    let end_of_type = |byte: &u8| *byte == b';';
    content_type
        .as_bytes()
        .split(end_of_type)
        .next()
        .is_some_and(|media_type| {
            media_type
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
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
