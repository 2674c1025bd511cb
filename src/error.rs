//! What a caller gets instead of an answer, and how to find it.

use std::{error::Error, fmt, io, iter, sync::Arc, time::Duration};

use crate::{Cause, Reason, State, line::Line};
pub use crate::{
    fallback::{Attempt, NoHealthyProvider},
    kind::Kind,
    state::ParseStateError,
};

/// Any error, as [`tower::BoxError`](https://docs.rs/tower/latest/tower/type.BoxError.html).
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A call was refused: the provider's circuit breaker is open, or half-open and on trial already.
///
/// The provider was not called. [`find`] finds this error beneath those of other layers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitOpen {
    /// Who was not called.
    pub provider: Arc<str>,
    /// [`State::Open`], or [`State::HalfOpen`] with no slot left for a trial. Any other is that of a
    /// service which was ready to refuse the call, and whose breaker has come back since.
    pub state: State,
    /// What opened the breaker.
    pub cause: Option<Cause>,
    /// How long until a call is admitted, as far as can be known now. A trial that ends early makes it sooner.
    pub retry_in: Duration,
    /// The last thing that was heard against the provider.
    pub last_error: Option<Reason>,
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider,
            state,
            retry_in,
            ..
        } = self;
        let provider = Line(provider);
        write!(f, "circuit breaker of `{provider}` is {state}, retry ")?;
        if retry_in.is_zero() {
            f.write_str("now")?;
        } else {
            write!(f, "in {retry_in:.1?}")?;
        }
        match &self.last_error {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {}

/// Finds an error of type `T`: `error` itself, or one of the first 64 beneath it, through wrappers of any kind.
///
/// For a [`BoxError`], write `find(&*error)`, and for a reference to one `find(&**error)`.
///
/// ```
/// use tower_health::{BoxError, HealthCache, error::{self, CircuitOpen}};
///
/// let provider = HealthCache::default().provider("groq");
/// provider.mark_unhealthy("timeout");
/// provider.mark_unhealthy("timeout");
/// let wrapped: BoxError = std::io::Error::other(provider.admit().unwrap_err()).into();
///
/// let refusal = error::find::<CircuitOpen>(&*wrapped).unwrap();
/// assert_eq!(&*refusal.provider, "groq");
/// ```
#[must_use]
pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(by_value_or_pointer)
}

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

/// How many errors beneath another are looked at: a chain of sources may lead back to itself.
const LINKS: usize = 64;

/// The error, and those beneath it.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| wrapped_by(*error)).take(1 + LINKS)
}

/// The sources of an error, as it gives them itself.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(error.source(), |error| (*error).source()).take(LINKS)
}

/// A pointer to an error is an error of another type, and leaves the one it points to out of its sources.
pub(crate) fn by_value_or_pointer<'a, T: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a T> {
    let in_box = || error.downcast_ref::<Box<T>>().map(AsRef::as_ref);
    let in_arc = || error.downcast_ref::<Arc<T>>().map(AsRef::as_ref);
    error.downcast_ref().or_else(in_box).or_else(in_arc)
}

/// Its source, save that an `io::Error` and a shared error leave what they wrap out of their sources.
fn wrapped_by<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**shared);
    }
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
