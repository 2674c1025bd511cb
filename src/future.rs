use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use tower_service::Service;

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
    #[project_replace = StateTaken]
    enum State<F, C> {
        Refused { refusal: BoxError },
        Called { #[pin] future: F, permit: Permit, classifier: C },
        Done,
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(crate) fn refused(refusal: CircuitOpen) -> Self {
        Self {
            state: State::Refused {
                refusal: refusal.into(),
            },
        }
    }

    /// Calls a service that is ready; `permit` judges what comes of it.
    #[inline]
    pub(crate) fn called<S, Req>(
        service: &mut S,
        request: Req,
        permit: Permit,
        classifier: C,
    ) -> Self
    where
        S: Service<Req, Future = F>,
    {
        let running = Running::enter(permit.cell());
        let future = service.call(request);
        drop(running);
        Self {
            state: State::Called {
                future,
                permit,
                classifier,
            },
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
        let mut state = self.project().state;
        if let StateProj::Called { future, permit, .. } = state.as_mut().project() {
            let running = Running::enter(permit.cell());
            let result = ready!(future.poll(cx));
            drop(running);
            if let StateTaken::Called {
                permit, classifier, ..
            } = state.project_replace(State::Done)
            {
                return Poll::Ready(classifier.classify(result, permit).map_err(Into::into));
            }
        } else if let StateTaken::Refused { refusal } = state.project_replace(State::Done) {
            return Poll::Ready(Err(refusal));
        }
        panic!("polled after it was done")
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
