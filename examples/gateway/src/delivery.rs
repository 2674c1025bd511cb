//! A body on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use reqwest::Error;
use tower_health::http::{llm::ApiError, sse::Parser};

use crate::{access::Access, answer};

/// Passes a body on, and notes when it is sent.
pub(crate) struct Delivery {
    pub(crate) body: reqwest::Body,
    pub(crate) events: Option<Events>,
    pub(crate) access: Access,
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            if this.events.as_ref().is_some_and(|events| events.is_over) {
                return Poll::Ready(None);
            }
            let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
            this.access.sent(next.as_ref());
            let Some(events) = &mut this.events else {
                return Poll::Ready(next);
            };
            let passed = match next {
                Some(Ok(frame)) => frame
                    .into_data()
                    .map_or(Bytes::new(), |data| events.pass(&data)),
                Some(Err(_)) | None => events.end(),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }
}

/// A stream of events. If it breaks off, it ends with an error event, which clients do not take for a complete answer. An event is
/// passed on once it is whole, so that the error event does not continue one.
#[derive(Default)]
pub(crate) struct Events {
    shows_errors: bool,
    parser: Parser,
    held: BytesMut,
    is_done: bool,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(shows_errors: bool) -> Self {
        Self {
            shows_errors,
            ..Self::default()
        }
    }

    fn pass(&mut self, data: &[u8]) -> Bytes {
        self.held.extend_from_slice(data);
        let (mut unread, mut passed) = (data, 0);
        while let Some(event) = self.parser.read(&mut unread) {
            let is_error = ApiError::in_event(&event).is_some();
            self.is_done |= event.data == "[DONE]" || is_error;
            if is_error && !self.shows_errors {
                self.held.truncate(passed);
                return self.fail();
            }
            passed = self.held.len() - unread.len();
        }
        let is_blank_line = |end: &[u8]| end.ends_with(b"\n\n") || end == b"\n\r\n";
        let whole = self.held.windows(3).rposition(is_blank_line);
        self.held.split_to(whole.map_or(0, |at| at + 3)).freeze()
    }

    fn end(&mut self) -> Bytes {
        // Some providers omit the blank line after their last event.
        let last = self.parser.finish();
        if self.is_done || last.is_some_and(|event| event.data == "[DONE]") {
            self.is_over = true;
            return self.held.split().freeze();
        }
        self.held.clear();
        self.fail()
    }

    fn fail(&mut self) -> Bytes {
        let broken_off = "The stream of the provider broke off.";
        let error = answer::document(StatusCode::BAD_GATEWAY, "stream_broken_off", broken_off);
        self.held
            .extend_from_slice(format!("data: {error}\n\n").as_bytes());
        self.is_over = true;
        self.held.split().freeze()
    }
}
