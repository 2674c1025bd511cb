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
    /// A body that records the outcome of its call at its end. The response body of
    /// [`StatusClassifier`](super::StatusClassifier) and [`GrpcClassifier`](super::GrpcClassifier).
    ///
    /// A provider that dies after its headers has failed, whatever its status.
    ///
    /// | body | outcome |
    /// |---|---|
    /// | the reader got the last frame, or the body is empty | success, or as `grpc-status` or a [judge](super::StatusClassifier::judge_body) decides |
    /// | a [judge](super::StatusClassifier::judge_sse) decides earlier | as decided, at once |
    /// | the body ended with fewer bytes than its size hint announced | failure, `incomplete`: some proxies reset streams without an error |
    /// | the body failed: reset, or cut off | failure |
    /// | no frame came within the [idle timeout](super::StatusClassifier::idle_timeout) | failure; the reader gets [`IdleBody`](super::IdleBody), then the end |
    /// | the reader got a frame, then dropped the body without waiting for the next | [answered](Outcome::Answered): clients of language models stop reading at the last event, but also at an error event |
    /// | the reader dropped the body while waiting for a frame, or before polling it | neutral; before the response begins, [`Trip::cancelled_after`](crate::Trip::cancelled_after) may make it a failure |
    ///
    /// So read bodies to their end, or [judge](super::StatusClassifier::judge_sse) their contents: a body that nobody
    /// reads does not close a half-open breaker.
    ///
    /// A response begins with its first frame; an event stream begins with its first event, since comments only keep a
    /// connection alive. A trial's slot is freed at that point, so that a long response does not block other trials.
    /// [`Trip::slow_call`](crate::Trip::slow_call) measures the time until then. An outcome that arrives after the
    /// breaker has changed state is ignored.
    ///
    /// Frames, trailers and size hints pass through unchanged, without allocation. The error type is [`BoxError`], so
    /// that it can hold an [`IdleBody`](super::IdleBody); downcast it to get an error of the inner body.
    ///
    /// A custom [classifier](crate::Classify) can use it too:
    ///
    /// ```
    /// use std::fmt::Display;
    /// use http::Response;
    /// use http_body::Body;
    /// use tower_health::{BoxError, Classify, Permit, http::{HealthBody, StatusClassifier}};
    ///
    /// /// Classifies a provider that always answers 200, and reports errors in a header.
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
    ///             error @ Err(_) => StatusClassifier::new().classify(error, permit),
    ///         }
    ///     }
    ///
    ///     /// Boxes the error first, so that its kind can be read from the box.
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
        // The reader received an `IdleBody`.
        is_timed_out: bool,
    }
}

/// `None` once the outcome is recorded.
#[derive(Default)]
struct Pending(Option<Watch>);

/// The state of a body whose outcome is not recorded yet.
struct Watch {
    permit: Permit,
    judge: Judge,
    silence: Option<Silence>,
    /// Set until an event stream sends its first event. Boxed, because few bodies need it.
    first_event: Option<Box<Parser>>,
    /// Bytes still missing from what the size hint announced.
    missing: u64,
    /// The reader's last poll returned a frame.
    is_reader_served: bool,
}

impl<B> HealthBody<B> {
    /// Wraps a body whose end is a success. An empty body records it at once.
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

    /// Wraps a body that is not empty, and is judged by `judge`. If it `has_events`, the response begins with the first
    /// of them.
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
            // Only the presence of an event matters, so its data may be cut.
            first_event: has_events.then(|| Box::new(Parser::new().up_to(256))),
            missing: inner.size_hint().lower(),
            is_reader_served: false,
        };
        Self {
            inner,
            watch: Pending(Some(watch)),
            is_timed_out: false,
        }
    }

    /// Returns a reference to the wrapped body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Returns a mutable reference to the wrapped body. Frames read through it are not judged.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Returns the wrapped body. If its outcome is not recorded yet, the call counts as dropped by the reader.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

/// Wraps a body without a permit: the outcome of its call is already recorded.
impl<B> From<B> for HealthBody<B> {
    fn from(inner: B) -> Self {
        Self {
            inner,
            watch: Pending(None),
            is_timed_out: false,
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
            if *this.is_timed_out {
                return Poll::Ready(None);
            }
            return this.inner.poll_frame(cx).map_err(Into::into);
        };
        watch.is_reader_served = false;
        let polled = this.inner.as_mut().poll_frame(cx).map_err(Into::into);
        let next = match polled {
            Poll::Ready(next) => next,
            Poll::Pending => {
                watch.permit.poll_overdue(cx);
                let error = ready!(watch.poll_idle(cx));
                *this.is_timed_out = true;
                Some(Err(error))
            }
        };
        let verdict = match &next {
            Some(Ok(frame)) => watch.frame_came(frame).or_else(|| {
                // Readers often stop at the last byte, without polling for the end.
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
    /// Returns the outcome, if this frame decides it.
    fn frame_came(&mut self, frame: &Frame<impl Buf>) -> Option<Outcome> {
        if let Some(silence) = &mut self.silence {
            silence.end();
        }
        // Trailers end the body, and are judged by `at_end`.
        let data = frame.data_ref()?;
        self.missing = self.missing.saturating_sub(data.remaining() as u64);
        if self.begins_response(data) {
            self.permit.release_slot();
        }
        self.judge.frame(data)
    }

    fn begins_response(&mut self, data: &impl Buf) -> bool {
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

    /// Ready once the reader has waited longer than the idle timeout.
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
        // A reader that still waits for a frame cancels the call: dropping the permit records that.
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
