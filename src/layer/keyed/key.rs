/// Extracts a provider's id from a request; see [`KeyedHealthLayer`](super::KeyedHealthLayer).
///
/// Closures that borrow the id from the request implement this trait. To build an id from several parts, implement it yourself
/// and pass the value to [`KeyedHealthLayer::new`](super::KeyedHealthLayer::new):
///
/// ```
/// use tower_health::{HealthCache, Key, KeyedHealthLayer};
///
/// struct Prompt { host: String, model: String }
///
/// #[derive(Clone)]
/// struct HostAndModel;
///
/// impl Key<Prompt> for HostAndModel {
///     fn with_key<R>(&self, request: &Prompt, look_up: impl FnOnce(&str) -> R) -> R {
///         look_up(&format!("{}/{}", request.host, request.model))
///     }
/// }
///
/// let layer = KeyedHealthLayer::new(&HealthCache::default(), HostAndModel);
/// # let _ = layer;
/// ```
pub trait Key<Req> {
    /// Calls `look_up` with the id of the request's provider, or with an empty string if the request has none.
    ///
    /// Runs once for every call.
    fn with_key<R>(&self, request: &Req, look_up: impl FnOnce(&str) -> R) -> R;
}

impl<Req, F> Key<Req> for F
where
    F: Fn(&Req) -> &str,
{
    fn with_key<R>(&self, request: &Req, look_up: impl FnOnce(&str) -> R) -> R {
        look_up(self(request))
    }
}
