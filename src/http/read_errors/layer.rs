use std::{fmt, time::Duration};

use tower_layer::Layer;

use super::{
    service::ReadErrors,
    verdict::{ErrorResponse, ErrorVerdict},
};
use crate::http::bounds::Bounds;
use crate::util::settings::{at_least_one, positive};

/// Wraps services in [`ReadErrors`]: classifies error responses by the beginning of their bodies, when the status is
/// not enough.
///
/// A 429 may mean a pause of one second, or an unpaid bill. A 400 may be the caller's mistake, or a prompt that only
/// this provider finds too long. The closure gets the body of each response with a status of 400 or above, and returns
/// an [`ErrorVerdict`].
///
/// The verdict takes precedence over the table of a [`StatusClassifier`](super::super::StatusClassifier) around this
/// layer, and over its [`outcome_with`](super::super::StatusClassifier::outcome_with). That applies both to the
/// [`HealthLayer`](crate::HealthLayer) and to the [`FallbackChain`](crate::FallbackChain). The caller gets the whole
/// body unchanged.
///
/// ```
/// use http::{Request, Response};
/// use tower::ServiceBuilder;
/// use tower_health::{
///     FallbackChain, HealthCache, HealthLayer, Outcome,
///     http::{ErrorVerdict, ReadErrorsLayer},
/// };
///
/// # async fn send(_: Request<String>) -> Result<Response<http_body_util::Full<bytes::Bytes>>, std::io::Error> { Ok(Response::default()) }
/// let read_errors = ReadErrorsLayer::new(|error| {
///     let says = |code| error.body.contains(code);
///     if says("insufficient_quota") {
///         // A 429 that waiting does not resolve.
///         ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"))
///     } else if says("context_length_exceeded") {
///         // The provider is up, but the next one may accept longer prompts.
///         ErrorVerdict::new().outcome(Outcome::Answered).advance(true)
///     } else {
///         ErrorVerdict::new()
///     }
/// });
///
/// let openai = HealthCache::default().provider("openai");
/// let stack = ServiceBuilder::new()
///     .layer(HealthLayer::http(openai.clone()))
///     .layer(read_errors)
///     .service(tower::service_fn(send));
/// let chain: FallbackChain<_, Request<String>, _> = FallbackChain::http().entry(openai, stack);
/// # let _ = chain;
/// ```
///
/// Google's APIs send the retry time [only in the body][RetryInfo]:
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{ErrorVerdict, ReadErrorsLayer, retry_hint};
///
/// let gemini = ReadErrorsLayer::new(|error| {
///     let retry_delay = || {
///         let (_, delay) = error.body.split_once(r#""retryDelay":"#)?;
///         retry_hint::duration(delay.split('"').nth(1)?)
///     };
///     match retry_delay() {
///         Some(wait) => ErrorVerdict::new().retry_after(wait),
///         None => ErrorVerdict::new(),
///     }
/// })
/// .within(Duration::from_millis(500))
/// .up_to(4 * 1024);
/// # let _ = gemini;
/// ```
///
/// # Where in the stack
///
/// Below [`HealthLayer`](crate::HealthLayer), and above a layer that decompresses bodies. The layer reads an error
/// before it returns it, so a timeout around the layer includes that time.
///
/// # What is not read
///
/// A body that is compressed, empty or not UTF-8 is not passed to the closure: the status decides. A body that breaks
/// while being read is classified by the part that arrived, and breaks at the same place for the caller.
///
/// [RetryInfo]: https://cloud.google.com/apis/design/errors#error_payloads
#[derive(Clone, Copy)]
#[must_use]
pub struct ReadErrorsLayer<F> {
    judge: F,
    bounds: Bounds,
}

impl<F> ReadErrorsLayer<F>
where
    F: Fn(&ErrorResponse<'_>) -> ErrorVerdict,
{
    /// Classifies each error response with this closure.
    pub fn new(judge: F) -> Self {
        Self {
            judge,
            bounds: Bounds {
                within: Duration::from_secs(1),
                up_to: 16 * 1024,
            },
        }
    }
}

impl<F> ReadErrorsLayer<F> {
    /// Maximum time to wait for the body of an error, from the response head. After that, the part that arrived is
    /// classified. Default: 1 s.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn within(mut self, limit: Duration) -> Self {
        self.bounds.within = positive("ReadErrorsLayer::within", limit);
        self
    }

    /// Maximum number of bytes read of an error's body. Default: 16 KiB.
    ///
    /// The frame that reaches the limit is buffered as a whole. A frame without data counts as one byte.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    #[track_caller]
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.bounds.up_to = at_least_one("ReadErrorsLayer::up_to", bytes);
        self
    }
}

impl<S, F: Clone> Layer<S> for ReadErrorsLayer<F> {
    type Service = ReadErrors<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        ReadErrors::new(inner, self.judge.clone(), self.bounds)
    }
}

impl<F> fmt::Debug for ReadErrorsLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadErrorsLayer")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
