use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH};
use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{action::Action, refusal::Refusal};
use crate::{
    cache::{Provider, Snapshot},
    status::{
        answer::{Answer, json},
        body::StatusBody,
    },
};

const MAX_BODY: usize = 4 * 1024;

/// An accepted request, applied when its body has been read.
pub(super) struct Command {
    pub(super) provider: Provider,
    pub(super) action: Action,
}

pin_project! {
    /// Response future of [`ControlService`](super::ControlService). It reads the request body, then applies the action.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before it is ready changes nothing.
    ///
    /// # Panics
    ///
    /// May panic if polled after completion.
    #[must_use = "futures do nothing unless polled"]
    pub struct ControlFuture<B> {
        #[pin]
        step: Step<B>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<B> {
        Reading { command: Command, read: Vec<u8>, #[pin] body: B },
        Refused { answer: Option<Answer> },
    }
}

impl<B> ControlFuture<B> {
    pub(super) fn reading(command: Command, body: B) -> Self {
        Self {
            step: Step::Reading {
                command,
                read: Vec::new(),
                body,
            },
        }
    }

    pub(super) fn refused(answer: Answer) -> Self {
        Self {
            step: Step::Refused {
                answer: Some(answer),
            },
        }
    }
}

impl<B: Body> Future for ControlFuture<B> {
    type Output = Result<Response<StatusBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.project().step.project() {
            StepProj::Refused { answer } => answer
                .take()
                .expect("`ControlFuture` polled after completion"),
            StepProj::Reading {
                command,
                read,
                body,
            } => match ready!(poll_whole(body, read, cx)) {
                Ok(()) => command.execute(read),
                Err(refusal) => refusal.into(),
            },
        }))
    }
}

/// Refuses a body by its announced length, before reading any of it.
pub(super) fn refuse_long_body<B: Body>(request: &Request<B>) -> Result<(), Refusal> {
    let lengths = request.headers().get_all(CONTENT_LENGTH);
    let is_long = |length: &HeaderValue| {
        let length = length.to_str().ok().and_then(|text| text.parse().ok());
        length.is_none_or(|length: usize| length > MAX_BODY)
    };
    let least = request.body().size_hint().lower();
    if least > MAX_BODY as u64 || lengths.iter().any(is_long) {
        Err(too_long())
    } else {
        Ok(())
    }
}

fn too_long() -> Refusal {
    let message = format!("body exceeds {MAX_BODY} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn poll_whole<B: Body>(
    mut body: Pin<&mut B>,
    read: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Refusal>> {
    while let Some(frame) = ready!(body.as_mut().poll_frame(cx)) {
        let Ok(frame) = frame else {
            let message = "failed to read request body";
            return Poll::Ready(Err(Refusal::new(StatusCode::BAD_REQUEST, message)));
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if data.remaining() > MAX_BODY - read.len() {
            return Poll::Ready(Err(too_long()));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            data.advance(chunk.len());
        }
    }
    Poll::Ready(Ok(()))
}

impl Command {
    fn execute(&self, body: &[u8]) -> Answer {
        match self.action.apply(&self.provider, body) {
            Ok(()) => json(StatusCode::OK, &self.health()),
            Err(error) => Refusal::new(StatusCode::BAD_REQUEST, error).into(),
        }
    }

    fn health(&self) -> Snapshot {
        let providers = vec![self.provider.health()];
        Snapshot {
            at: Instant::now(),
            providers,
        }
    }
}

impl<B> fmt::Debug for ControlFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlFuture").finish_non_exhaustive()
    }
}
