use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use tower_service::Service;

use super::{
    classify::Classify,
    reentrancy::{self, Running},
};
use crate::{breaker::Permit, util::errors::BoxError};

pin_project! {
    /// Response future of [`Health`](crate::Health) and [`KeyedHealth`](crate::KeyedHealth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it before completion drops the call and its permit. The call is then neutral, unless
    /// [`Trip::cancelled_after`](crate::Trip::cancelled_after) counts it as a failure.
    pub struct ResponseFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, C> {
        Called { #[pin] future: F, permit: Option<Permit>, classifier: C },
        Refused { refusal: Option<BoxError> },
    }
}

const COMPLETED: &str = "`ResponseFuture` polled after completion";

impl<F, C> ResponseFuture<F, C> {
    #[inline]
    pub(crate) fn refused(refusal: BoxError) -> Self {
        Self {
            state: State::Refused {
                refusal: Some(refusal),
            },
        }
    }

    /// Calls `service`, which must be ready. The outcome is recorded on `permit`.
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
        let running = Running::enter(&permit);
        let future = service.call(request);
        drop(running);
        Self::new(future, permit, classifier)
    }

    /// Wraps a call that is already in flight. The outcome is recorded on `permit`.
    #[inline]
    pub(crate) fn new(future: F, permit: Permit, classifier: C) -> Self {
        Self {
            state: State::Called {
                future,
                permit: Some(permit),
                classifier,
            },
        }
    }
}

impl<F, C> State<F, C> {
    /// Drops the call. Its permit is neutral.
    #[cold]
    fn release(mut self: Pin<&mut Self>) {
        if let StateProj::Called { permit, .. } = self.as_mut().project() {
            permit.take().expect(COMPLETED).neutral();
        }
        self.set(Self::Refused { refusal: None });
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
        match state.as_mut().project() {
            StateProj::Called {
                future,
                permit,
                classifier,
            } => {
                let running = Running::enter(permit.as_ref().expect(COMPLETED));
                let polled = future.poll(cx);
                drop(running);
                let Poll::Ready(result) = polled else {
                    let released = permit.as_mut().expect(COMPLETED).poll_released(cx);
                    let refusal = classifier.refused(ready!(released).into());
                    state.release();
                    return Poll::Ready(Err(refusal));
                };
                let permit = permit.take().expect(COMPLETED);
                if result.is_err() && permit.is_trial() {
                    return Poll::Ready(reentrancy::judge_failed_trial(classifier, result, permit));
                }
                Poll::Ready(classifier.classify_boxed(result, permit))
            }
            StateProj::Refused { refusal } => Poll::Ready(Err(refusal.take().expect(COMPLETED))),
        }
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
