//! A body with a stream of events.

use std::{
    convert::Infallible,
    pin::Pin,
    slice,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};

use crate::breaker::Reading;

/// A body with one event per frame.
pub(super) struct Events {
    left: slice::Iter<'static, &'static str>,
    announced: Option<u64>,
}

pub(super) fn answer(reading: Reading) -> Response<Events> {
    let answer = Response::builder().header(CONTENT_TYPE, "text/event-stream");
    answer
        .body(Events::new(reading))
        .expect("a header that is fine")
}

impl Events {
    fn new(reading: Reading) -> Self {
        let (events, announced): (&[_], _) = match reading {
            Reading::ToTheLastEvent => (
                &["data: Hello\n\n", "data: world\n\n", "data: [DONE]\n\n"],
                None,
            ),
            Reading::ToAnEndTooSoon => (&["data: Hello\n\n"], Some(1_000)),
        };
        Self {
            left: events.iter(),
            announced,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.next();
        Poll::Ready(next.map(|event| Ok(Frame::data(Bytes::from_static(event.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map(SizeHint::with_exact).unwrap_or_default()
    }
}
