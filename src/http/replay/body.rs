use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A complete request body that can be cloned. The body of requests sent by [`Replay`](super::Replay).
///
/// Yields the data as one frame, then any trailers. Reports its exact size, so that HTTP/1 sends a `Content-Length`,
/// unless it has trailers, which require chunked encoding. Clones share the data.
///
/// ```
/// use http::Request;
/// use tower_health::http::ReplayBody;
///
/// // A hand-made request for a service below a `Replay`.
/// let request = Request::post("https://api.example.com/v1/chat/completions")
///     .body(ReplayBody::from(r#"{"model": "small"}"#))?;
/// assert_eq!(request.clone().body().data(), request.body().data());
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReplayBody {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl ReplayBody {
    pub(super) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data, trailers }
    }

    /// Returns the data that has not been read yet.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Returns the trailers, unless there are none or they have been read.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

impl<T: Into<Bytes>> From<T> for ReplayBody {
    fn from(data: T) -> Self {
        Self::new(data.into(), None)
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = if self.data.is_empty() {
            self.trailers.take().map(Frame::trailers)
        } else {
            Some(Frame::data(std::mem::take(&mut self.data)))
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let size = self.data.len() as u64;
        if self.trailers.is_none() {
            return SizeHint::with_exact(size);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(size);
        hint
    }
}
