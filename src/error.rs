//! The crate's errors, and functions that find them inside other errors.

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

/// Returns whether circuit breakers refused the call, so that no provider was called.
///
/// The error is a [`CircuitOpen`] that is not [released](CircuitOpen::is_released), or a [`NoHealthyProvider`] of a chain that
/// called no provider. An immediate retry would be refused too: `retry_in` of both errors is the time to wait. So a retry policy
/// should retry neither refusals nor released calls:
///
/// ```
/// use std::future::{Ready, ready};
/// use tower::{ServiceBuilder, retry::{Policy, RetryLayer}};
/// use tower_health::{BoxError, HealthCache, HealthLayer, error::{self, Kind}};
///
/// #[derive(Clone)]
/// struct UpTo(u32);
///
/// impl<Req: Clone, Res> Policy<Req, Res, BoxError> for UpTo {
///     type Future = Ready<()>;
///
///     fn retry(&mut self, _: &mut Req, result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
///         let error = result.as_ref().err()?;
///         if error::is_refusal(&**error) || Kind::of(&**error) == Some(Kind::Released) {
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
        let refusal = by_value_or_pointer::<CircuitOpen>(error).map(|it| !it.is_released());
        let exhausted = || by_value_or_pointer::<NoHealthyProvider>(error);
        refusal.or_else(|| Some(exhausted()?.without_a_call() == Some(Kind::CircuitOpen)))
    };
    // The outermost error decides, because the source of a `NoHealthyProvider` may be the refusal of one of its providers.
    chain(error).find_map(is_refusal).unwrap_or(false)
}

// The following impls are here because they name errors of all modules.

impl Kind {
    /// Returns the kind of an error or of its sources, if it has one.
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
        let refusal = by_value_or_pointer::<CircuitOpen>(error).map(|it| {
            if it.is_released() {
                Self::Released
            } else {
                Self::CircuitOpen
            }
        });
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

    /// Returns a service's error as `dyn Error` if its type is one of the crate's own.
    pub(crate) fn own_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        as_known::<CircuitOpen>(error).or_else(|| as_known::<NoHealthyProvider>(error))
    }
}

impl CircuitOpen {
    /// Returns whether the breaker that owns this `Arc` of an id refused the call. The pointer is compared, not the text.
    pub(crate) fn is_within(error: &(dyn Error + 'static), id: &Arc<str>) -> bool {
        chain(error).any(|error| {
            let refusal = by_value_or_pointer::<Self>(error);
            let exhausted = by_value_or_pointer::<NoHealthyProvider>(error);
            refusal.is_some_and(|it| !it.is_released() && Arc::ptr_eq(it.shared_id(), id))
                || exhausted.is_some_and(|exhausted| exhausted.was_refused_by(id))
        })
    }
}

#[cfg(feature = "http")]
impl Reason {
    /// Returns the reason inside an error, if it has one.
    pub(crate) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        PeekError::within(error)?.reason()
    }
}

#[cfg(feature = "http")]
impl Outcome {
    /// Returns the throttle inside an error, if the provider asked for a pause in a peeked body.
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
