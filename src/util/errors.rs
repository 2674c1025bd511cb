//! Errors in boxes, and those beneath them.

use std::{error::Error, io, iter, sync::Arc};

/// Any error, as [`tower::BoxError`](https://docs.rs/tower/latest/tower/type.BoxError.html).
pub type BoxError = Box<dyn Error + Send + Sync>;

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
