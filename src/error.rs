//! What a caller gets instead of an answer, and how to find it.

use std::{any::Any, error::Error, sync::Arc};

#[cfg(feature = "http")]
use crate::http::{IdleBody, PeekError, ReplayError};
pub use crate::{
    fallback::{Attempt, NoHealthyProvider},
    outcome::Kind,
    util::errors::{BoxError, find},
    view::{CircuitOpen, ParseStateError},
};
use crate::{
    outcome::{
        Outcome, Reason,
        kind_of_others::{as_known, shown_by_others},
    },
    util::errors::{by_value_or_pointer, chain},
};

/// Whether circuit breakers refused a call, so that no provider was called: the error is a [`CircuitOpen`], or the
/// [`NoHealthyProvider`] of a chain that called nobody.
///
/// A retry at once would be refused too; the field `retry_in` of both errors tells how long to wait. So a retry policy leaves
/// refusals alone:
///
/// ```
/// use std::future::{Ready, ready};
/// use tower::{ServiceBuilder, retry::{Policy, RetryLayer}};
/// use tower_health::{BoxError, HealthCache, HealthLayer, error};
///
/// #[derive(Clone)]
/// struct UpTo(u32);
///
/// impl<Req: Clone, Res> Policy<Req, Res, BoxError> for UpTo {
///     type Future = Ready<()>;
///
///     fn retry(&mut self, _: &mut Req, result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
///         let error = result.as_ref().err()?;
///         if error::is_refusal(&**error) {
///             return None;
///         }
///         self.0 = self.0.checked_sub(1)?;
///         Some(ready(()))
///     }
///
///     fn clone_request(&mut self, request: &Req) -> Option<Req> {
///         Some(request.clone())
///     }
/// }
///
/// # async fn send(request: String) -> std::io::Result<String> { Ok(request) }
/// let cache = HealthCache::default();
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::new(UpTo(3)))
///     .layer(HealthLayer::new(cache.provider("search")))
///     .service_fn(send);
/// # use tower::ServiceExt;
/// # let _ = client.oneshot(String::new());
/// ```
#[must_use]
pub fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let is_refusal = |error| {
        let refusal = by_value_or_pointer::<CircuitOpen>(error).map(|_| true);
        let exhausted = || by_value_or_pointer::<NoHealthyProvider>(error);
        refusal.or_else(|| Some(exhausted()?.without_a_call() == Some(Kind::CircuitOpen)))
    };
    // The outermost decides: beneath the end of a chain may be the refusal of one of its providers.
    chain(error).find_map(is_refusal).unwrap_or(false)
}

// What the crate's own errors prove, which come from every room.

impl Kind {
    /// The kind of an error, if it has one.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut known = None;
        for error in chain(error) {
            let shown = Self::shown_by_own(error).or_else(|| shown_by_others(error, known));
            known = shown.filter(|kind| kind.adds_to(known)).or(known);
            if known.is_some_and(Self::is_neutral) {
                break;
            }
        }
        known
    }

    fn shown_by_own(error: &(dyn Error + 'static)) -> Option<Self> {
        let refusal = by_value_or_pointer::<CircuitOpen>(error).map(|_| Self::CircuitOpen);
        let shown = refusal.or_else(|| {
            let exhausted = by_value_or_pointer::<NoHealthyProvider>(error)?;
            Some(
                exhausted
                    .without_a_call()
                    .unwrap_or(Self::NoHealthyProvider),
            )
        });
        #[cfg(feature = "http")]
        let shown = shown
            .or_else(|| by_value_or_pointer::<ReplayError>(error).map(|_| Self::Request))
            .or_else(|| by_value_or_pointer::<IdleBody>(error).map(|_| Self::Timeout))
            .or_else(|| by_value_or_pointer::<PeekError>(error)?.kind());
        shown
    }

    /// The error of a service whose error type is one of the crate's own.
    pub(crate) fn own_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        as_known::<CircuitOpen>(error).or_else(|| as_known::<NoHealthyProvider>(error))
    }
}

impl CircuitOpen {
    /// Whether the breaker with this id has refused a call, as its own copy of the id shows.
    pub(crate) fn is_within(error: &(dyn Error + 'static), id: &Arc<str>) -> bool {
        chain(error).any(|error| {
            let refusal = by_value_or_pointer::<Self>(error);
            let exhausted = by_value_or_pointer::<NoHealthyProvider>(error);
            refusal.is_some_and(|refusal| Arc::ptr_eq(&refusal.provider, id))
                || exhausted.is_some_and(|exhausted| exhausted.was_refused_by(id))
        })
    }
}

#[cfg(feature = "http")]
impl Reason {
    /// The reason that an error carries.
    pub(crate) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        PeekError::within(error)?.reason()
    }
}

#[cfg(feature = "http")]
impl Outcome {
    /// The pause that a provider asked for in a body that was peeked at.
    pub(crate) fn throttle_within(error: &(dyn Error + 'static)) -> Option<Self> {
        PeekError::within(error)?.throttle()
    }
}

#[cfg(not(feature = "http"))]
impl Reason {
    pub(crate) fn within<'a>(_error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        None
    }
}

#[cfg(not(feature = "http"))]
impl Outcome {
    pub(crate) fn throttle_within(_error: &(dyn Error + 'static)) -> Option<Self> {
        None
    }
}
