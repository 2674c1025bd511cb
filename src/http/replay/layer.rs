use tower_layer::Layer;

use super::service::Replay;
use crate::util::settings::at_least_one;

/// Wraps services in [`Replay`]: buffers the body of each request before sending it, so that the request can be cloned.
///
/// To try a request at a second provider, a client needs its whole body, but a streamed body can be read only once.
/// So a [`FallbackChain`](crate::FallbackChain) requires requests that are `Clone`, as does tower's `Retry`. Put this
/// layer in front to meet that requirement. It sends nothing until the body is complete.
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
///     // Limits the time for receiving a slow caller's body.
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
/// Without the layer, this does not compile:
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
    /// Buffers at most this number of bytes. A larger body is a
    /// [`ReplayError::TooLarge`](super::ReplayError::TooLarge). There is no default: each concurrent request may use
    /// that much memory.
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
