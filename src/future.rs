use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{BoxError, Classify, Permit, error::CircuitOpen, nesting::Running};

pin_project! {
    /// The response of [`Health`](crate::Health).
    ///
    /// # Cancel safety
    ///
    /// Dropping it before it is done drops the call, and the permit with it: the verdict is neutral,
    /// unless [`Trip::cancelled_after`](crate::Trip::cancelled_after) says otherwise.
    pub struct ResponseFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, C> {
        Refused { refusal: Option<BoxError> },
        Called { #[pin] future: F, verdict: Option<(Permit, C)> },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(crate) fn refused(refusal: CircuitOpen) -> Self {
        let refusal = Some(refusal.into());
        Self {
            state: State::Refused { refusal },
        }
    }

    pub(crate) fn called(future: F, permit: Permit, classifier: C) -> Self {
        let verdict = Some((permit, classifier));
        Self {
            state: State::Called { future, verdict },
        }
    }
}

impl<F, C, Res, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, E>>,
    C: Classify<Res, E>,
    E: Into<BoxError>,
{
    type Output = Result<C::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const DONE: &str = "polled after it was done";
        match self.project().state.project() {
            StateProj::Refused { refusal } => Poll::Ready(Err(refusal.take().expect(DONE))),
            StateProj::Called { future, verdict } => {
                let (permit, _) = verdict.as_ref().expect(DONE);
                let running = Running::enter(permit.cell());
                let result = ready!(future.poll(cx));
                drop(running);
                let (permit, classifier) = verdict.take().expect(DONE);
                Poll::Ready(classifier.classify(result, permit).map_err(Into::into))
            }
        }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
