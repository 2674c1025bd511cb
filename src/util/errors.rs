//! Boxed errors, and the errors inside them.

use std::{error::Error, io, iter, sync::Arc};

/// Any error, like [`tower::BoxError`](https://docs.rs/tower/latest/tower/type.BoxError.html).
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Finds an error of type `T`: `error` itself, or one of its first 64 sources. Also looks inside boxes, `Arc`s and `io::Error`s.
///
/// Write `find(&*error)` for a [`BoxError`], and `find(&**error)` for a reference to one.
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
/// assert_eq!(refusal.provider(), "groq");
/// ```
#[must_use]
pub fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(by_value_or_pointer)
}

/// Maximum number of sources that are followed, because a chain of sources may be cyclic.
const LINKS: usize = 64;

/// The error, its sources, and the errors that `io::Error`s and `Arc`s wrap.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| wrapped_by(*error)).take(1 + LINKS)
}

/// The sources of an error, by [`Error::source`] alone.
pub(crate) fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(error.source(), |error| (*error).source()).take(LINKS)
}

/// Downcasts an error, also inside a `Box` or an `Arc`. These are errors of their own, and not in the source chain.
pub(crate) fn by_value_or_pointer<'a, T: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a T> {
    let in_box = || error.downcast_ref::<Box<T>>().map(AsRef::as_ref);
    let in_arc = || error.downcast_ref::<Arc<T>>().map(AsRef::as_ref);
    error.downcast_ref().or_else(in_box).or_else(in_arc)
}

/// The error directly inside another. An `io::Error` and an `Arc` leave the error that they wrap out of their sources, so it is returned
/// first.
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
