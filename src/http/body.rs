use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::idle::Silence;
use crate::{BoxError, Outcome, Permit};

/// What the end of a body says, with the trailers that it came with.
pub(super) type AtEnd = fn(Option<&HeaderMap>) -> Outcome;

pin_project! {
    /// A body at whose end the verdict on its call is given: the body of the responses of
    /// [`StatusClassifier`](super::StatusClassifier) and [`GrpcClassifier`](super::GrpcClassifier).
    ///
    /// A provider that dies after its headers has failed, whatever they said.
    ///
    /// | what becomes of the body | verdict |
    /// |---|---|
    /// | its last frame has been read, or it is empty | success, or what `grpc-status` says |
    /// | an error: it was reset, or is shorter than announced | failure |
    /// | it stayed silent for longer than its [idle timeout](super::StatusClassifier::idle_timeout) | failure, and the reader gets [`IdleBody`](super::IdleBody), and nothing more |
    /// | it is dropped before its end | none: neutral, or by [`Trip::cancelled_after`](crate::Trip::cancelled_after) |
    ///
    /// So a body should be read to its end: a half-open breaker does not close, and a streak does not
    /// end, by a body that nobody reads. The slot of a trial is free at the first frame, so that a long
    /// answer keeps no other waiting; the time to the first frame is what
    /// [`Trip::slow_call`](crate::Trip::slow_call) goes by. The verdict of a body that outlasts a change
    /// of state is late, and changes nothing.
    ///
    /// Frames, trailers and size hints are handed on as they are, and nothing is allocated for it. The
    /// error is a [`BoxError`] because an [`IdleBody`](super::IdleBody) must fit in; an error of the
    /// inner body is found in it by downcast.
    ///
    /// A [classifier](crate::Classify) of your own can use it too:
    ///
    /// ```
    /// use std::fmt::Display;
    /// use http::Response;
    /// use http_body::Body;
    /// use tower_health::{BoxError, Classify, Permit, http::{HealthBody, StatusClassifier}};
    ///
    /// /// This provider says 200 to everything, and the truth in a header.
    /// #[derive(Clone)]
    /// struct TruthInHeader;
    ///
    /// impl<B: Body, E: Display + 'static> Classify<Response<B>, E> for TruthInHeader {
    ///     type Response = Response<HealthBody<B>>;
    ///
    ///     fn classify(&self, result: Result<Response<B>, E>, permit: Permit) -> Result<Self::Response, E> {
    ///         match result {
    ///             Ok(response) if response.headers().contains_key("x-error") => {
    ///                 permit.failure("x-error");
    ///                 Ok(response.map(HealthBody::from))
    ///             }
    ///             Ok(response) => Ok(response.map(|body| HealthBody::new(body, permit))),
    ///             Err(error) => StatusClassifier::new().classify(Err(error), permit),
    ///         }
    ///     }
    ///
    ///     /// The kind of an error is read from its box.
    ///     fn classify_boxed(
    ///         &self,
    ///         result: Result<Response<B>, E>,
    ///         permit: Permit,
    ///     ) -> Result<Self::Response, BoxError>
    ///     where
    ///         E: Into<BoxError>,
    ///     {
    ///         self.classify(result.map_err(Into::into), permit)
    ///     }
    /// }
    /// ```
    #[derive(Default)]
    pub struct HealthBody<B> {
        #[pin]
        inner: B,
        // None once the verdict is given.
        watch: Option<Watch>,
        // Its reader was told that it is idle.
        is_given_up: bool,
    }
}

struct Watch {
    permit: Permit,
    at_end: AtEnd,
    silence: Option<Silence>,
}

impl<B> HealthBody<B> {
    /// A body whose end is a success; one that is empty is at its end.
    pub fn new(inner: B, permit: Permit) -> Self
    where
        B: Body,
    {
        Self::judged(inner, permit, |_| Outcome::Success, None)
    }

    /// A body whose end is what `at_end` says.
    pub(super) fn judged(
        inner: B,
        permit: Permit,
        at_end: AtEnd,
        idle_timeout: Option<Duration>,
    ) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            permit.record(at_end(None));
            return Self::from(inner);
        }
        let watch = Watch {
            permit,
            at_end,
            silence: idle_timeout.map(Silence::new),
        };
        Self {
            watch: Some(watch),
            ..Self::from(inner)
        }
    }

    /// The wrapped body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// The wrapped body, to be changed; what is read from it here goes unseen.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// The wrapped body alone. A permit that is still without its verdict is dropped.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

/// A body that carries no permit: the verdict on its call has been given.
impl<B> From<B> for HealthBody<B> {
    fn from(inner: B) -> Self {
        Self {
            inner,
            watch: None,
            is_given_up: false,
        }
    }
}

impl<B> Body for HealthBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(watch) = this.watch else {
            if *this.is_given_up {
                return Poll::Ready(None);
            }
            return this.inner.poll_frame(cx).map_err(Into::into);
        };
        let polled = this.inner.as_mut().poll_frame(cx).map_err(Into::into);
        let next = match polled {
            Poll::Ready(next) => next,
            Poll::Pending => {
                let error = ready!(watch.poll_idle(cx));
                *this.is_given_up = true;
                Some(Err(error))
            }
        };
        let verdict = match &next {
            Some(Ok(frame)) => {
                watch.frame_came();
                // Readers often stop at the last byte, without asking whether there is more.
                let is_last = frame.is_trailers() || this.inner.is_end_stream();
                is_last.then(|| (watch.at_end)(frame.trailers_ref()))
            }
            Some(Err(error)) => Some(Outcome::of_error(error)),
            None => Some((watch.at_end)(None)),
        };
        if let Some(outcome) = verdict {
            conclude(this.watch, outcome);
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Watch {
    fn frame_came(&mut self) {
        self.permit.release_slot();
        if let Some(silence) = &mut self.silence {
            silence.end();
        }
    }

    /// Ready where the reader has waited for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        match &mut self.silence {
            Some(silence) => silence.poll_too_long(cx).map(Into::into),
            None => Poll::Pending,
        }
    }
}

fn conclude(watch: &mut Option<Watch>, outcome: Outcome) {
    if let Some(Watch { permit, .. }) = watch.take() {
        permit.record(outcome);
    }
}

impl<B: fmt::Debug> fmt::Debug for HealthBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permit = self.watch.as_ref().map(|watch| &watch.permit);
        f.debug_struct("HealthBody")
            .field("inner", &self.inner)
            .field("permit", &permit)
            .finish_non_exhaustive()
    }
}
