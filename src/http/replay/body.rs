use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that is all there, and can be cloned: that of the requests of a [`Replay`](super::Replay).
///
/// The data comes as one frame, then the trailers, if there are any. Its size is known, so that HTTP/1
/// sends it with a `Content-Length`; with trailers it is not told, for they need the chunked coding. A
/// clone shares the data.
///
/// ```
/// use http::Request;
/// use tower_health::http::ReplayBody;
///
/// // For requests of one's own to a service that takes those of a `Replay`.
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

    /// The data that has not been read yet.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The trailers, if there are any and they have not been read yet.
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
