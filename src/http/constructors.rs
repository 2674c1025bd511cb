use crate::{
    FallbackChain, HealthLayer, Provider,
    http::{GrpcClassifier, StatusClassifier},
};

impl HealthLayer<StatusClassifier> {
    /// Guards calls to `provider` over HTTP: judges them by the status of the response and by its
    /// body, with the defaults of [`StatusClassifier`].
    ///
    /// ```
    /// use tower_health::{HealthCache, HealthLayer, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    ///
    /// let defaults = HealthLayer::http(cache.provider("search"));
    /// let customized = HealthLayer::new(cache.provider("archive"))
    ///     .classify(StatusClassifier::new().neutral_on([500]));
    /// # let _ = (defaults, customized);
    /// ```
    pub fn http(provider: Provider) -> Self {
        HealthLayer::new(provider).classify(StatusClassifier::new())
    }
}

impl HealthLayer<GrpcClassifier> {
    /// Guards gRPC calls to `provider`, below the generated client: judges them by their
    /// `grpc-status`, with the defaults of [`GrpcClassifier`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::{
    ///     HealthCache, HealthLayer,
    ///     http::{GrpcClassifier, StatusClassifier},
    /// };
    ///
    /// let cache = HealthCache::default();
    ///
    /// let defaults = HealthLayer::grpc(cache.provider("search"));
    /// let customized = HealthLayer::new(cache.provider("archive")).classify(
    ///     GrpcClassifier::new().http(StatusClassifier::new().idle_timeout(Duration::from_secs(60))),
    /// );
    /// # let _ = (defaults, customized);
    /// ```
    pub fn grpc(provider: Provider) -> Self {
        HealthLayer::new(provider).classify(GrpcClassifier::new())
    }
}

impl<S, Req> FallbackChain<S, Req, StatusClassifier> {
    /// A chain over HTTP, without entries: goes on to the next provider by the status of the
    /// response, with the defaults of [`StatusClassifier`], and leaves a
    /// [`ServedBy`](crate::ServedBy) in its extensions.
    ///
    /// ```
    /// # type Request = http::Request<String>;
    /// # async fn send(_: Request) -> Result<http::Response<String>, std::io::Error> { Ok(Default::default()) }
    /// # tokio_test::block_on(async {
    /// use tower::ServiceExt;
    /// use tower_health::{FallbackChain, HealthCache, ServedBy, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    /// let chain = FallbackChain::http().entry(cache.provider("search"), tower::service_fn(send));
    /// let response = chain.oneshot(Request::default()).await.unwrap();
    /// let served_by = response.extensions().get::<ServedBy>().unwrap();
    /// assert_eq!(&*served_by.provider, "search");
    ///
    /// let customized = FallbackChain::new()
    ///     .advance(StatusClassifier::new().advance_on([404]))
    ///     .entry(cache.provider("archive"), tower::service_fn(send));
    /// # let _ = customized.oneshot(Request::default()).await;
    /// # });
    /// ```
    pub fn http() -> Self {
        FallbackChain::new().advance(StatusClassifier::new())
    }
}
