use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::HeaderMap;
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    idle::Silence,
    judge::{Judge, find_in_pieces, incomplete},
    sse::Parser,
};
use crate::{breaker::Permit, outcome::Outcome, util::errors::BoxError};

pin_project! {
    /// A body at whose end the verdict on its call is given: the body of the responses of
    /// [`StatusClassifier`](super::StatusClassifier) and [`GrpcClassifier`](super::GrpcClassifier).
    ///
    /// A provider that dies after its headers has failed, whatever they said.
    ///
    /// | what becomes of the body | verdict |
    /// |---|---|
    /// | its last frame has been read, or it is empty | success, or what `grpc-status` or a [judge](super::StatusClassifier::judge_body) says |
    /// | a [judge](super::StatusClassifier::judge_sse) decides before that | as the judge says, at once |
    /// | it ends with fewer bytes than its size hint announced | failure, `incomplete`: proxies reset streams without an error |
    /// | an error: it was reset, or cut off | failure |
    /// | it stayed silent for longer than its [idle timeout](super::StatusClassifier::idle_timeout) | failure, and the reader gets [`IdleBody`](super::IdleBody), and nothing more |
    /// | its reader drops it, having got every frame that it asked for | [answered](Outcome::Answered): clients of language models stop at the last event, though also at an error event |
    /// | its reader drops it while waiting for a frame, or without having asked for one | neutral; before the answer has begun also by [`Trip::cancelled_after`](crate::Trip::cancelled_after) |
    ///
    /// So a body should be read to its end, or [judged](super::StatusClassifier::judge_sse) by what it
    /// says: a half-open breaker does not close by a body that nobody reads.
    ///
    /// The answer has begun with the first frame, and that of an event stream with its first event, since
    /// comments only keep a connection alive. The slot of a trial is free from then on, so that a long
    /// answer keeps no other waiting; the time until then is what
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
        watch: Pending,
        // Its reader was told that it is idle.
        is_given_up: bool,
    }
}

/// A body whose verdict is still to be given, if it is.
#[derive(Default)]
struct Pending(Option<Watch>);

/// Watches one body for its verdict.
struct Watch {
    permit: Permit,
    judge: Judge,
    silence: Option<Silence>,
    /// Where the answer begins with an event that is still to come. In a box, because few are watched so.
    first_event: Option<Box<Parser>>,
    /// In bytes, of what the size hint announced.
    missing: u64,
    /// The reader has asked for a frame, and waits for none.
    is_reader_served: bool,
}

impl<B> HealthBody<B> {
    /// A body whose end is a success; one that is empty is at its end.
    pub fn new(inner: B, permit: Permit) -> Self
    where
        B: Body,
    {
        if inner.is_end_stream() {
            permit.success();
            return Self::from(inner);
        }
        Self::watched(inner, permit, Judge::default(), None, false)
    }

    /// A body, not empty, whose verdict `judge` gives. Where it `has_events`, the answer begins with the first of them.
    #[inline]
    pub(super) fn watched(
        inner: B,
        permit: Permit,
        judge: Judge,
        idle_timeout: Option<Duration>,
        has_events: bool,
    ) -> Self
    where
        B: Body,
    {
        let watch = Watch {
            permit,
            judge,
            silence: idle_timeout.map(Silence::new),
            // That there is an event is all that matters.
            first_event: has_events.then(|| Box::new(Parser::new().up_to(256))),
            missing: inner.size_hint().lower(),
            is_reader_served: false,
        };
        Self {
            inner,
            watch: Pending(Some(watch)),
            is_given_up: false,
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

    /// The wrapped body alone. A verdict that is still to be given is that of a body which is dropped.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

/// A body that carries no permit: the verdict on its call has been given.
impl<B> From<B> for HealthBody<B> {
    fn from(inner: B) -> Self {
        Self {
            inner,
            watch: Pending(None),
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
        let Some(watch) = &mut this.watch.0 else {
            if *this.is_given_up {
                return Poll::Ready(None);
            }
            return this.inner.poll_frame(cx).map_err(Into::into);
        };
        watch.is_reader_served = false;
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
            Some(Ok(frame)) => watch.frame_came(frame).or_else(|| {
                // Readers often stop at the last byte, without asking whether there is more.
                let is_last = frame.is_trailers() || this.inner.is_end_stream();
                is_last.then(|| watch.at_end(frame.trailers_ref()))
            }),
            Some(Err(error)) => Some(Outcome::of_error(error)),
            None => Some(watch.at_end(None)),
        };
        match verdict {
            Some(outcome) => this.watch.conclude(outcome),
            None => watch.is_reader_served = true,
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
    /// What this frame decides.
    fn frame_came(&mut self, frame: &Frame<impl Buf>) -> Option<Outcome> {
        if let Some(silence) = &mut self.silence {
            silence.end();
        }
        // Trailers are the end, which is judged as such.
        let data = frame.data_ref()?;
        self.missing = self.missing.saturating_sub(data.remaining() as u64);
        if self.begins_answer(data) {
            self.permit.release_slot();
        }
        self.judge.frame(data)
    }

    fn begins_answer(&mut self, data: &impl Buf) -> bool {
        let Some(parser) = &mut self.first_event else {
            return true;
        };
        let event = find_in_pieces(data, |mut piece| parser.read(&mut piece).map(drop));
        if event.is_some() {
            self.first_event = None;
        }
        event.is_some()
    }

    fn at_end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
        if self.missing > 0 {
            return incomplete();
        }
        self.judge.end(trailers)
    }

    /// Ready where the reader has waited for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        match &mut self.silence {
            Some(silence) => silence.poll_too_long(cx).map(Into::into),
            None => Poll::Pending,
        }
    }
}

impl Pending {
    fn conclude(&mut self, outcome: Outcome) {
        if let Some(Watch { permit, .. }) = self.0.take() {
            permit.record(outcome);
        }
    }
}

impl Pending {
    #[cold]
    fn dropped_by_reader(&mut self) {
        if let Some(Watch { permit, .. }) = self.0.take() {
            permit.answered();
        }
    }
}

impl Drop for Pending {
    #[inline]
    fn drop(&mut self) {
        // A reader that waits for a frame has not had enough: the permit is dropped.
        if self.0.as_ref().is_some_and(|watch| watch.is_reader_served) {
            self.dropped_by_reader();
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for HealthBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permit = self.watch.0.as_ref().map(|watch| &watch.permit);
        f.debug_struct("HealthBody")
            .field("inner", &self.inner)
            .field("permit", &permit)
            .finish_non_exhaustive()
    }
}
