use ::reqwest::Request;

use crate::{
    cache::Provider,
    fallback::FallbackChain,
    http::{classify::StatusClassifier, replay::ReplayError},
    layer::HealthLayer,
    util::errors::BoxError,
};

impl HealthLayer<StatusClassifier> {
    /// Guards a reqwest client's calls to `provider`. Classifies them by status and body, with the defaults of
    /// [`StatusClassifier`], like [`HealthLayer::http`]. Feature `reqwest`.
    ///
    /// The service takes and returns what the client does, so it can take the client's place. The outcome is recorded when
    /// the body has been read: see [`HealthBody`](crate::http::HealthBody). The conversion costs a
    /// few allocations per response, and none per frame.
    ///
    /// Only the type of the response matters. A service that turns other requests into `reqwest::Response`, such as one for
    /// async-openai's middleware, is guarded in the same way: see the package `examples/async-openai`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower::ServiceBuilder;
    /// use tower_health::{
    ///     HealthCache, HealthLayer,
    ///     http::{Content, PeekLayer, StatusClassifier, StreamVerdict},
    /// };
    ///
    /// let cache = HealthCache::default();
    /// let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
    ///
    /// let defaults = ServiceBuilder::new()
    ///     .layer(HealthLayer::reqwest(cache.provider("search")))
    ///     .service(client.clone());
    ///
    /// // Streams of events, judged to their last. `PeekLayer` and `ReadErrorsLayer` accept reqwest's responses too.
    /// let customized = ServiceBuilder::new()
    ///     .layer(HealthLayer::new(cache.provider("groq")).classify(
    ///         StatusClassifier::new()
    ///             .idle_timeout(Duration::from_secs(30))
    ///             .judge_sse(|event| match event.data {
    ///                 "[DONE]" => StreamVerdict::Done,
    ///                 _ => StreamVerdict::Continue,
    ///             }),
    ///     ))
    ///     .layer(PeekLayer::first_sse_event(|_| Content::Begun))
    ///     .service(client);
    /// # fn is_service<S: tower::Service<reqwest::Request, Response = reqwest::Response>>(_: S) {}
    /// # is_service(defaults);
    /// # is_service(customized);
    /// # Ok::<_, reqwest::Error>(())
    /// ```
    pub fn reqwest(provider: Provider) -> Self {
        HealthLayer::http(provider)
    }
}

impl<S> FallbackChain<S, Request, StatusClassifier> {
    /// A chain for reqwest clients, without entries. Goes on to the next provider depending on the status of the response,
    /// with the defaults of [`StatusClassifier`], like [`FallbackChain::http`]. Adds a [`ServedBy`](crate::ServedBy) to the
    /// response's extensions. Feature `reqwest`.
    ///
    /// The request contains a URL. To send it to another host, each entry needs a layer that changes it.
    ///
    /// # Errors
    ///
    /// Besides those of every chain: [`ReplayError::Stream`] if the request's body is a stream and another entry may still
    /// need the request. No provider is called then. Bodies made of text or bytes are not streams, and clones share their
    /// data.
    ///
    /// ```no_run
    /// use reqwest::{Method, Request, Url};
    /// use tower::{ServiceBuilder, ServiceExt};
    /// use tower_health::{BoxError, FallbackChain, HealthCache, ServedBy, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    /// let client = reqwest::Client::new();
    /// let stack = |host: &'static str| {
    ///     ServiceBuilder::new()
    ///         .map_request(move |mut request: Request| {
    ///             request.url_mut().set_host(Some(host)).expect("a host");
    ///             request
    ///         })
    ///         .service(client.clone())
    /// };
    /// let chain = FallbackChain::reqwest()
    ///     .guard(cache.provider("groq"), stack("api.groq.com"))
    ///     .guard(cache.provider("openai"), stack("api.openai.com"));
    ///
    /// # async fn call(chain: impl tower::Service<Request, Response = reqwest::Response, Error = BoxError>) -> Result<(), BoxError> {
    /// let request = Request::new(Method::GET, Url::parse("https://example.com/v1/models")?);
    /// let response = chain.oneshot(request).await?;
    /// let served_by = response.extensions().get::<ServedBy>();
    /// # let _ = served_by;
    /// # Ok(())
    /// # }
    /// # let _ = call(chain);
    ///
    /// // Goes on after a 404 too: the next provider may know the model.
    /// let customized = FallbackChain::reqwest()
    ///     .advance(StatusClassifier::new().advance_on([404]))
    ///     .guard(cache.provider("groq"), client.clone());
    /// # let _ = call(customized);
    /// ```
    pub fn reqwest() -> Self {
        FallbackChain::cloning_by(try_clone).advance(StatusClassifier::new())
    }
}

fn try_clone(request: &Request) -> Result<Request, BoxError> {
    let clone = request.try_clone();
    clone.ok_or_else(|| ReplayError::Stream.into())
}
