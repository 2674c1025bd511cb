use std::time::Duration;

use tower_layer::Layer;

use super::{
    content::Content,
    service::Peek,
    watch::{FirstContent, FirstFrame, FirstSseEvent, Whole},
};
use crate::http::bounds::Bounds;
use crate::{
    http::sse::SseEvent,
    util::settings::{at_least_one, positive},
};

/// Wraps services in [`Peek`]: holds a response back until its body has begun.
///
/// For a streamed response, a status of 200 proves little: the provider may still break, hang or report an error
/// before any content. Once returned, the response cannot be replaced. This layer turns such a fault into an ordinary
/// error: a [`HealthLayer`](crate::HealthLayer) around it counts a failure, and a
/// [`FallbackChain`](crate::FallbackChain) goes on to the next provider.
///
/// Held frames are passed on unchanged. After that, the layer adds no cost.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use tower::ServiceBuilder;
/// use tower_health::{
///     HealthCache, HealthLayer, Reason,
///     http::{Content, PeekLayer},
/// };
///
/// # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::default()) }
/// let cache = HealthCache::default();
///
/// // Waits for any data.
/// let files = ServiceBuilder::new()
///     .layer(HealthLayer::http(cache.provider("files")))
///     .layer(PeekLayer::first_frame())
///     .service(tower::service_fn(send));
///
/// // Waits at most 10 s for a first token, and fails on an error before it. Some providers report an error as an
/// // event of its own, others in the data of an ordinary event. A turn may end without any content.
/// let first_token = PeekLayer::first_sse_event(|event| match event.event {
///     "error" => Content::broken(Reason::labelled("error event", event.data)),
///     "message" if event.data.contains(r#""error":{"#) => {
///         Content::broken(Reason::labelled("error event", event.data))
///     }
///     "content_block_delta" | "message_stop" => Content::Begun,
///     _ => Content::NotYet,
/// });
/// let model = ServiceBuilder::new()
///     .layer(HealthLayer::http(cache.provider("model")))
///     .layer(first_token.within(Duration::from_secs(10)).up_to(16 * 1024))
///     .service(tower::service_fn(send));
///
/// // Waits for the whole JSON body, so that the next provider answers if it breaks off.
/// let answers = ServiceBuilder::new()
///     .layer(HealthLayer::http(cache.provider("answers")))
///     .layer(PeekLayer::whole().up_to(1024 * 1024))
///     .service(tower::service_fn(send));
/// # let _ = (files, model, answers);
/// ```
///
/// # Where in the stack
///
/// Below [`HealthLayer`](crate::HealthLayer), so that it sees the error. A timeout layer may be on either side:
///
/// - `HealthLayer` → `Timeout` → `PeekLayer` → client: the timeout includes the beginning of the body, for which
///   [`within`](Self::within) sets its own limit.
/// - `HealthLayer` → `PeekLayer` → `Timeout` → client: the timeout limits the wait for the response head, and `within`
///   the wait for the body.
///
/// Put a layer that decompresses bodies below this one: compressed content is not passed to closures.
///
/// Two of these layers can be stacked: [`whole`](Self::whole) for ordinary responses, and
/// [`first_sse_event`](Self::first_sse_event) for streams.
///
/// # What is not held back
///
/// - Responses with an unsuccessful status.
/// - Responses without content: to `HEAD` or `CONNECT`, or with a 204 or 205.
/// - Compressed content, if a closure would have to read it. Note that most clients of language models accept `gzip`.
///
/// # Incomplete bodies
///
/// If a held body ends with fewer bytes than its size hint announced, the call fails with
/// [`PeekError::Incomplete`](super::PeekError::Incomplete).
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekLayer<W = FirstFrame> {
    watch: W,
    bounds: Bounds,
}

impl PeekLayer {
    /// Holds a response back until the first data of its body, or until its end: a body may be empty.
    pub fn first_frame() -> Self {
        Self::new(FirstFrame)
    }
}

impl PeekLayer<Whole> {
    /// Holds a response back until its whole body has arrived. A body that breaks off is then an error of the call, and
    /// a [`FallbackChain`](crate::FallbackChain) goes on to the next provider.
    ///
    /// A response whose body exceeds [`up_to`](Self::up_to) is returned early. A body that takes longer than
    /// [`within`](Self::within) fails the call.
    ///
    /// Streams are not held back: `text/event-stream`, `application/x-ndjson`, `application/jsonl` and
    /// `application/vnd.amazon.eventstream`.
    ///
    /// ```
    /// use tower_health::http::PeekLayer;
    ///
    /// let layer = PeekLayer::whole();
    /// let larger = PeekLayer::whole().up_to(4 * 1024 * 1024);
    /// # let _ = (layer, larger);
    /// ```
    pub fn whole() -> Self {
        Self::new(Whole)
    }
}

impl<F> PeekLayer<FirstContent<F>>
where
    F: Fn(&[u8]) -> Content,
{
    /// Holds a response back until `judge` finds that its content has begun.
    ///
    /// `judge` is called with all bytes so far, at least one, whenever more data has arrived. A body that ends before
    /// its content begins is an [error](super::PeekError::Ended).
    ///
    /// Compressed content is not held back.
    ///
    /// ```
    /// use tower_health::http::{Content, PeekLayer};
    ///
    /// // Lines of JSON. The content begins with the first that contains a "response".
    /// let layer = PeekLayer::first_content(|bytes| {
    ///     let text = String::from_utf8_lossy(bytes);
    ///     if text.contains(r#""error""#) {
    ///         Content::broken("error in the stream")
    ///     } else if text.contains(r#""response""#) {
    ///         Content::Begun
    ///     } else {
    ///         Content::NotYet
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    pub fn first_content(judge: F) -> Self {
        Self::new(FirstContent::new(judge))
    }
}

impl<F> PeekLayer<FirstSseEvent<F>>
where
    F: Fn(&SseEvent<'_>) -> Content,
{
    /// Holds a stream of server-sent events back until `judge` finds that its content has begun.
    ///
    /// `judge` is called with each complete event, as a browser would dispatch it: comments, events without `data`, and
    /// an incomplete event at the end of the stream are skipped.
    ///
    /// A stream that ends without any data is an [error](super::PeekError::Ended). A stream that ends after events with
    /// data, none of which was content, is returned: the provider gave an empty answer.
    ///
    /// Responses are held back only if their `Content-Type` is `text/event-stream` and they are not compressed. So one
    /// client can request both streams and ordinary responses. The limits of [`sse::Parser`](crate::http::sse::Parser)
    /// apply to events.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::http::{Content, PeekLayer};
    ///
    /// let layer = PeekLayer::first_sse_event(|event| match event.data {
    ///     "" => Content::NotYet,
    ///     data if data.contains("rate_limit_error") => {
    ///         Content::throttled(Some(Duration::from_secs(5)), "rate limit")
    ///     }
    ///     data if data.contains(r#""error":{"#) => Content::broken("error in the stream"),
    ///     _ => Content::Begun,
    /// });
    /// # let _ = layer;
    /// ```
    pub fn first_sse_event(judge: F) -> Self {
        Self::new(FirstSseEvent::new(judge))
    }
}

impl<W> PeekLayer<W> {
    fn new(watch: W) -> Self {
        Self {
            watch,
            bounds: Bounds {
                within: Duration::from_secs(30),
                up_to: 64 * 1024,
            },
        }
    }

    /// Maximum time until the body begins, or with [`whole`](Self::whole) until it ends, from the response head. After
    /// that the call fails with [`PeekError::TimedOut`](super::PeekError::TimedOut). Default: 30 s.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn within(mut self, limit: Duration) -> Self {
        self.bounds.within = positive("PeekLayer::within", limit);
        self
    }

    /// Maximum number of bytes of a body that are held back. Default: 64 KiB.
    ///
    /// A response that exceeds it without a verdict is returned: the body counts as begun. So a closure that waits for
    /// an event that never comes cannot take out a healthy provider. The frame that reaches the limit is held as a
    /// whole. A frame without data counts as one byte.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    #[track_caller]
    pub fn up_to(mut self, bytes: usize) -> Self {
        self.bounds.up_to = at_least_one("PeekLayer::up_to", bytes);
        self
    }
}

impl<S, W: Clone> Layer<S> for PeekLayer<W> {
    type Service = Peek<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        Peek::new(inner, self.watch.clone(), self.bounds)
    }
}
