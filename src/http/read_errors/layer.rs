use std::{fmt, time::Duration};

use tower_layer::Layer;

use super::{
    service::ReadErrors,
    verdict::{ErrorResponse, ErrorVerdict},
};
use crate::http::bounds::Bounds;
use crate::util::settings::{at_least_one, positive};

/// Wraps services in [`ReadErrors`]: judges errors by the beginning of their bodies, where the status does not tell enough.
///
/// A 429 may be a pause of a second, or a bill that nobody has paid; a 400 may be the caller's mistake, or a prompt that
/// only this provider finds too long. The closure is given the body of each response with a status of 400 or above, and
/// answers with an [`ErrorVerdict`]. A [`StatusClassifier`](super::super::StatusClassifier) around this layer asks it
/// before its table and before its [`outcome_with`](super::super::StatusClassifier::outcome_with): that of the
/// [`HealthLayer`](crate::HealthLayer), and that of the [`FallbackChain`](crate::FallbackChain). The body is handed on
/// untouched, first what was read, then the rest.
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
///         // A 429 that no pause ends.
///         ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"))
///     } else if says("context_length_exceeded") {
///         // The provider is up, but the next may take longer prompts.
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
/// Google's APIs name the time [in the body alone][RetryInfo]:
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
/// Below [`HealthLayer`](crate::HealthLayer), and above a layer that decompresses bodies. An error is held back until it
/// has been read: a timeout around this layer counts that time too.
///
/// # What is not read
///
/// Bodies that are compressed or no UTF-8, and those that are empty: their status decides alone. A body that breaks while
/// it is read is judged by what had come, and breaks for the caller where it broke.
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
    /// Judges each error by its body, with this closure.
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
    /// Maximum wait for an error's body, from the head of the response on. After it, the error is judged by what has come.
    /// Default: 1 s.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn within(mut self, limit: Duration) -> Self {
        self.bounds.within = positive("ReadErrorsLayer::within", limit);
        self
    }

    /// Maximum length that is read of an error's body, in bytes. Default: 16 KiB.
    ///
    /// The frame that reaches the limit is held whole; a frame without data counts as one byte.
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
