use std::{
    fmt,
    pin::Pin,
    str,
    task::{Context, Poll, ready},
};

use ::http::Response;
use bytes::Bytes;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::verdict::{ErrorResponse, ErrorVerdict, is_error};
use crate::http::{bounds::Bounds, message::HttpResponse, peek::PeekBody, sse::is_compressed};

const COMPLETED: &str = "`ReadErrorsFuture` polled after completion";

pin_project! {
    /// The response future of [`ReadErrors`](super::ReadErrors).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the call, or the response with everything read of it.
    pub struct ReadErrorsFuture<F, B, J>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B>,
        judge: J,
        bounds: Bounds,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B>
    where
        B: Body,
    {
        Called { #[pin] call: F },
        Reading { #[pin] reading: Reading<B> },
    }
}

pin_project! {
    /// Reads the body of an error response.
    struct Reading<B>
    where
        B: Body,
    {
        response: Option<Response<PeekBody<B>>>,
        text: Vec<u8>,
        // Size of the held frames for `Bounds::up_to`.
        held: usize,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F, B: Body, J> ReadErrorsFuture<F, B, J> {
    pub(super) fn new(call: F, judge: J, bounds: Bounds) -> Self {
        Self {
            state: State::Called { call },
            judge,
            bounds,
        }
    }
}

impl<F, Res, B, J, E> Future for ReadErrorsFuture<F, B, J>
where
    F: Future<Output = Result<Res, E>>,
    Res: HttpResponse<Body = B>,
    B: Body<Data = Bytes> + Unpin,
    J: Fn(&ErrorResponse<'_>) -> ErrorVerdict,
{
    type Output = Result<Res::Peeked, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let response = match this.state.as_mut().project() {
                StateProj::Called { call } => ready!(call.poll(cx)?).into_http().map(PeekBody::new),
                StateProj::Reading { mut reading } => {
                    ready!(reading.as_mut().poll_read(cx, *this.bounds));
                    return Poll::Ready(Ok(Res::peeked(reading.judged(&*this.judge))));
                }
            };
            if !is_read(&response) {
                return Poll::Ready(Ok(Res::peeked(response)));
            }
            let reading = Reading {
                response: Some(response),
                text: Vec::new(),
                held: 0,
                timer: None,
            };
            this.state.set(State::Reading { reading });
        }
    }
}

fn is_read<B>(response: &Response<B>) -> bool {
    is_error(response.status()) && !is_compressed(response.headers())
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Ready when the body has ended, or a limit is reached.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bounds: Bounds) -> Poll<()> {
        let mut this = self.project();
        let body = this.response.as_mut().expect(COMPLETED).body_mut();
        while *this.held < bounds.up_to {
            let Poll::Ready(frame) = body.poll_keep(cx) else {
                // Started at the first wait: most errors arrive whole, and need no timer.
                if this.timer.is_none() {
                    this.timer.set(Some(sleep(bounds.within)));
                }
                return this
                    .timer
                    .as_pin_mut()
                    .expect("the timer is set above")
                    .poll(cx);
            };
            let Some(frame) = frame else { break };
            let data = frame.data_ref().map_or(&[][..], |data| data);
            let fitting = data.len().min(bounds.up_to - *this.held);
            this.text.extend_from_slice(&data[..fitting]);
            *this.held = this.held.saturating_add(data.len().max(1));
        }
        Poll::Ready(())
    }

    /// Returns the response, with the verdict of `judge` in its extensions.
    fn judged(
        self: Pin<&mut Self>,
        judge: impl Fn(&ErrorResponse<'_>) -> ErrorVerdict,
    ) -> Response<PeekBody<B>> {
        let this = self.project();
        let mut response = this.response.take().expect(COMPLETED);
        if let Some(body) = text(this.text) {
            let verdict = judge(&ErrorResponse {
                status: response.status(),
                headers: response.headers(),
                body,
            });
            verdict.attach_to(&mut response);
        }
        response
    }
}

/// The bytes as text. An incomplete character at the end is dropped.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

impl<F, B: Body, J> fmt::Debug for ReadErrorsFuture<F, B, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadErrorsFuture").finish_non_exhaustive()
    }
}
