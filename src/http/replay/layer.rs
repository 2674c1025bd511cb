use tower_layer::Layer;

use super::service::Replay;
use crate::util::settings::at_least_one;

/// Wraps services in [`Replay`]: reads the body of each request before it is sent, so that the request
/// can be cloned.
///
/// A request that is tried at a second provider must be whole, and a body that is still coming in can
/// be read only once. Such a request is refused where it would matter, at compile time: a
/// [`FallbackChain`](crate::FallbackChain) takes requests that are `Clone`, as does tower's `Retry`. This
/// layer, in front of them, makes them so. Nothing is sent before all of the body is there.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use http_body_util::combinators::UnsyncBoxBody;
/// use tower::{ServiceBuilder, timeout::TimeoutLayer};
/// use tower_health::{
///     BoxError, FallbackChain, HealthCache,
///     http::{ReplayBody, ReplayLayer},
/// };
///
/// # async fn send(_: Request<ReplayBody>) -> Result<Response<String>, BoxError> { Ok(Response::default()) }
/// # tokio_test::block_on(async {
/// let cache = HealthCache::default();
/// let chain = FallbackChain::http()
///     .entry(cache.provider("groq"), tower::service_fn(send))
///     .entry(cache.provider("openai"), tower::service_fn(send));
///
/// let mut proxy = ServiceBuilder::new()
///     // Callers who take their time are not waited for.
///     .layer(TimeoutLayer::new(Duration::from_secs(60)))
///     .layer(ReplayLayer::up_to(1024 * 1024))
///     .service(chain);
///
/// let once_only: Request<UnsyncBoxBody<&[u8], BoxError>> = Request::default();
/// # use tower::Service;
/// proxy.call(once_only).await?;
/// # Ok::<_, BoxError>(())
/// # });
/// ```
///
/// Without it, this does not compile:
///
/// ```compile_fail,E0277
/// # use http::{Request, Response};
/// # use http_body_util::combinators::UnsyncBoxBody;
/// # use tower_health::{BoxError, FallbackChain, HealthCache};
/// # async fn send(_: Request<UnsyncBoxBody<&[u8], BoxError>>) -> Result<Response<String>, BoxError> { Ok(Response::default()) }
/// # let cache = HealthCache::default();
/// let chain = FallbackChain::http().entry(cache.provider("groq"), tower::service_fn(send));
/// # drop::<FallbackChain<_, Request<UnsyncBoxBody<&[u8], BoxError>>, _>>(chain);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReplayLayer {
    limit: usize,
}

impl ReplayLayer {
    /// Keeps bodies of so many bytes at most; a larger one is a
    /// [`ReplayError::TooLarge`](super::ReplayError::TooLarge). There is no default: each request under
    /// way may take as much memory.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    #[track_caller]
    pub fn up_to(bytes: usize) -> Self {
        Self {
            limit: at_least_one("ReplayLayer::up_to", bytes),
        }
    }
}

impl<S> Layer<S> for ReplayLayer {
    type Service = Replay<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Replay::new(inner, self.limit)
    }
}
