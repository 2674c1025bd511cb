/// Tells from a request whose call it is; see [`KeyedHealthLayer`](super::KeyedHealthLayer).
///
/// Closures that borrow the key from the request are keys. What has to put it together implements
/// this instead, and goes to [`KeyedHealthLayer::new`](super::KeyedHealthLayer::new):
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
    /// Gives the id of the request's provider to `look_up`; an empty one: the request has none.
    ///
    /// It is asked at every call.
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
