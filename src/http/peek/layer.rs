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
/// A status of 200 proves little where the answer is a stream: the provider may still break, hang or
/// report an error before the first word of it. Once the response has been handed on, such an answer
/// cannot be taken back. Held back, it is an ordinary error: a [`HealthLayer`](crate::HealthLayer)
/// around this one counts it as a failure, and a [`FallbackChain`](crate::FallbackChain) goes on to
/// the next provider. What was held back is then given on untouched, frame by frame, and costs
/// nothing more.
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
/// // Anything at all must have come.
/// let files = ServiceBuilder::new()
///     .layer(HealthLayer::http(cache.provider("files")))
///     .layer(PeekLayer::first_frame())
///     .service(tower::service_fn(send));
///
/// // A first token must have come, in time, and no error before it. Some providers report an error as
/// // an event of its own, others in the data of an ordinary one. A turn may end without any content.
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
/// // JSON that breaks off half-way is the next provider's to answer.
/// let answers = ServiceBuilder::new()
///     .layer(HealthLayer::http(cache.provider("answers")))
///     .layer(PeekLayer::whole().up_to(1024 * 1024))
///     .service(tower::service_fn(send));
/// # let _ = (files, model, answers);
/// ```
///
/// # Where in the stack
///
/// Below [`HealthLayer`](crate::HealthLayer), which is to see the error. A timeout layer may be on
/// either side:
///
/// - `HealthLayer` → `Timeout` → `PeekLayer` → client: the timeout bounds the whole, from the call
///   to the beginning of the body; [`within`](Self::within) bounds the body's part of it.
/// - `HealthLayer` → `PeekLayer` → `Timeout` → client: the timeout bounds the wait for the head of
///   the response, and `within` that for the body.
///
/// A layer that decompresses bodies belongs below this one: closures are not asked about compressed
/// content.
///
/// Two of these layers can be stacked: [`whole`](Self::whole) for answers that are not streamed, and
/// [`first_sse_event`](Self::first_sse_event) for those that are.
///
/// # What is not held back
///
/// Responses whose status is not a success, and those that have no content: of a `HEAD` or `CONNECT`,
/// or with a 204 or 205. They pass at once. So does compressed content where a closure would have to
/// read it: the provider's `Content-Encoding` says that the bytes are no text, and most clients of
/// language models accept `gzip`.
///
/// # Bodies that end
///
/// A body that ends with fewer bytes than its size hint announced, before it is let through, is
/// [an error](super::PeekError::Incomplete).
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekLayer<W = FirstFrame> {
    watch: W,
    bounds: Bounds,
}

impl PeekLayer {
    /// Holds a response back until the first data of its body, or its end: a body may be empty.
    pub fn first_frame() -> Self {
        Self::new(FirstFrame)
    }
}

impl PeekLayer<Whole> {
    /// Holds a response back until its whole body has come, so that one that breaks half-way is an error
    /// of the call, which a [`FallbackChain`](crate::FallbackChain) takes to the next provider.
    ///
    /// Within the bounds of [`up_to`](Self::up_to), beyond which the response is let through, and of
    /// [`within`](Self::within), beyond which the call fails.
    ///
    /// Streams pass at once: `text/event-stream`, `application/x-ndjson`, `application/jsonl` and
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
    /// Holds a response back until `judge` says that its content has begun.
    ///
    /// `judge` is given all bytes so far, from the first, whenever more have come; there is at least
    /// one. A body that ends while the content has not begun is an [error](super::PeekError::Ended).
    ///
    /// Compressed content passes at once.
    ///
    /// ```
    /// use tower_health::http::{Content, PeekLayer};
    ///
    /// // Lines of JSON, of which those before the first with a "response" are of no use.
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
    /// Holds a stream of server-sent events back until `judge` says of one that the content has begun
    /// with it.
    ///
    /// `judge` is given each event in turn, once it is complete, as browsers understand them:
    /// comments are none, and neither is what has no `data`, nor what the stream ends in the midst of.
    ///
    /// A stream that ends before any event with data is an [error](super::PeekError::Ended). One that ends
    /// after such events, though none was content, is let through: its provider has answered, and had
    /// nothing to say.
    ///
    /// A response passes at once unless its `Content-Type` is `text/event-stream`, so that one client may
    /// ask for streams and for whole answers, and so does compressed content. Events are read by an
    /// [`sse::Parser`](crate::http::sse::Parser), up to its bounds.
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

    /// How long the body may take to begin, from the head of the response on; then the call fails
    /// with [`PeekError::TimedOut`](super::PeekError::TimedOut). With [`whole`](Self::whole), how long it
    /// may take to end. Default: 30 s.
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
    /// A response with more than that, and no verdict, is let through: what goes on for so long has
    /// begun, and a closure that waits for what never comes must not take out a provider that is
    /// well. The frame that reaches the limit is held whole; a frame without data counts as one byte.
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
