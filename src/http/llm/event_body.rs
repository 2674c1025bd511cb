use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{Response, StatusCode, header::CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use pin_project_lite::pin_project;

use super::{api_error::ApiError, judges::is_last, unavailable::document};
use crate::http::sse::{self, Parser};

pin_project! {
    /// A stream of events on its way to a client. If it breaks off, it ends with an error event.
    ///
    /// Clients of language models take a stream that ends without its last event for a complete answer. This body ends such a
    /// stream, and one that fails, with an event in the shape of OpenAI's errors, code `stream_broken_off`. It puts the same
    /// event in the place of an error event of the provider, whose text may name the account. A stream of events never fails.
    ///
    /// An event is passed on once it is whole, so that the error event does not continue a part of one. An event with more than
    /// 1 MiB of data breaks the stream off. The body must not be compressed.
    ///
    /// Put it outside the [`HealthLayer`](crate::HealthLayer), whose classifier judges the provider's own events.
    ///
    /// ```
    /// use http_body_util::{BodyExt, Full};
    /// use tower_health::http::llm::EventBody;
    ///
    /// # tokio_test::block_on(async {
    /// let broken_off = Full::new(bytes::Bytes::from("data: {\"choices\":[]}\n\ndata: {\"cho"));
    /// let text = EventBody::new(broken_off).collect().await.unwrap().to_bytes();
    /// assert!(text.starts_with(b"data: {\"choices\":[]}\n\ndata: {\"error\":{"));
    ///
    /// let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    /// let with_errors = EventBody::new(Full::new(bytes::Bytes::from(error))).show_errors(true);
    /// assert_eq!(with_errors.collect().await.unwrap().to_bytes(), error);
    /// # });
    /// ```
    #[must_use]
    pub struct EventBody<B> {
        #[pin]
        inner: B,
        // `None`: passes everything on.
        events: Option<Events>,
    }
}

/// Maximum number of bytes that are held back for an event to become whole. The parser's own limit is for its data alone.
const LONGEST_EVENT: usize = 2 * 1024 * 1024;

#[derive(Default)]
struct Events {
    shows_errors: bool,
    parser: Parser,
    /// The beginning of an event, and what stands before it.
    held: BytesMut,
    /// The last event has come.
    is_complete: bool,
    is_over: bool,
}

impl<B> EventBody<B> {
    /// Passes this stream on.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            events: Some(Events::default()),
        }
    }

    /// Passes a response on. Only the body of an event stream that is not compressed is changed.
    pub fn wrap(mut response: Response<B>) -> Response<Self> {
        let events = sse::is_readable(response.headers()).then(Events::default);
        if events.is_some() {
            // The length changes if an event is replaced or added.
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        response.map(|inner| Self { inner, events })
    }

    /// Sets whether error events of the provider are passed on. Default: false.
    pub fn show_errors(mut self, show: bool) -> Self {
        if let Some(events) = &mut self.events {
            events.shows_errors = show;
        }
        self
    }
}

impl<B: Body<Data = Bytes>> Body for EventBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(events) = this.events else {
            return this.inner.poll_frame(cx);
        };
        while !events.is_over {
            let passed = match ready!(this.inner.as_mut().poll_frame(cx)) {
                // Trailers mean nothing to an event stream.
                Some(Ok(frame)) => frame
                    .into_data()
                    .map_or(Bytes::new(), |data| events.pass(&data)),
                Some(Err(_)) | None => events.end(),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
        Poll::Ready(None)
    }
}

impl Events {
    /// Returns the events that are whole.
    fn pass(&mut self, data: &[u8]) -> Bytes {
        // A blank line can begin in the bytes before.
        let searched = self.held.len().saturating_sub(2);
        self.held.extend_from_slice(data);
        let (mut unread, mut passed) = (data, 0);
        while let Some(event) = self.parser.read(&mut unread) {
            let is_error = ApiError::in_event(&event).is_some();
            self.is_complete |= is_error || is_last(&event);
            if event.is_truncated || (is_error && !self.shows_errors) {
                self.held.truncate(passed);
                return self.fail();
            }
            passed = self.held.len() - unread.len();
        }
        // Cuts after the last blank line, or after the last event. A blank line can also end a comment.
        let is_blank_line = |end: &[u8]| end.ends_with(b"\n\n") || end == b"\n\r\n";
        let blank_line = self.held[searched..].windows(3).rposition(is_blank_line);
        let whole = blank_line.map_or(passed, |at| passed.max(searched + at + 3));
        if self.held.len() - whole > LONGEST_EVENT {
            self.held.truncate(whole);
            return self.fail();
        }
        self.held.split_to(whole).freeze()
    }

    fn end(&mut self) -> Bytes {
        // Some providers omit the blank line after their last event.
        let last = self.parser.finish();
        let is_error = last.is_some_and(|event| ApiError::in_event(&event).is_some());
        self.is_complete |= is_error || last.is_some_and(|event| is_last(&event));
        if !self.is_complete || (is_error && !self.shows_errors) {
            self.held.clear();
            return self.fail();
        }
        self.is_over = true;
        self.held.split().freeze()
    }

    fn fail(&mut self) -> Bytes {
        let message = "The stream of the provider broke off.";
        let error = document(StatusCode::BAD_GATEWAY, "stream_broken_off", message);
        self.held
            .extend_from_slice(format!("data: {error}\n\n").as_bytes());
        self.is_over = true;
        self.held.split().freeze()
    }
}

impl<B: fmt::Debug> fmt::Debug for EventBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
