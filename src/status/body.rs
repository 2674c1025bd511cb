use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::events::Events;

/// Response body of [`StatusService`](super::StatusService) and [`ControlService`](super::ControlService).
///
/// The body of `/events` builds a frame when it is polled and health has changed or the refresh is due. Dropping it frees a
/// subscriber slot.
///
/// # Panics
///
/// Polling the body of `/events` panics outside a tokio runtime with an enabled timer.
pub struct StatusBody(Content);

enum Content {
    Whole(Bytes),
    Events(Events),
    End,
}

impl StatusBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() {
            Content::End
        } else {
            Content::Whole(bytes)
        })
    }

    pub(super) fn events(events: Events) -> Self {
        Self(Content::Events(events))
    }

    pub(super) fn len(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

/// An empty body.
impl Default for StatusBody {
    fn default() -> Self {
        Self(Content::End)
    }
}

impl Body for StatusBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let content = &mut self.get_mut().0;
        let next = match content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *content = Content::End;
                Some(bytes)
            }
            Content::Events(events) => {
                let next = std::task::ready!(events.poll_next(cx));
                if next.is_none() {
                    *content = Content::End;
                }
                next
            }
            Content::End => None,
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::End)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) => SizeHint::default(),
            Content::End => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for StatusBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.0 {
            Content::Whole(_) => "whole",
            Content::Events(_) => "events",
            Content::End => "end",
        };
        f.debug_tuple("StatusBody").field(&content).finish()
    }
}
