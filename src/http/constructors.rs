use super::{authority::PerAuthority, classify::StatusClassifier, grpc::GrpcClassifier};
use crate::{
    cache::{HealthCache, Provider},
    fallback::{FallbackChain, GuardRule},
    layer::{HealthLayer, KeyedHealthLayer},
};

impl HealthLayer<StatusClassifier> {
    /// Guards HTTP calls to `provider`. Classifies them by status and body, with the defaults of [`StatusClassifier`].
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

    /// Guards a client's calls to many hosts, with one breaker per scheme, host and port. Classifies calls by status and
    /// body, with the defaults of [`StatusClassifier`]; for gRPC, add `.classify(GrpcClassifier::new())`.
    ///
    /// See [`PerAuthority`] for the ids of providers, and [`KeyedHealthLayer`] for everything else.
    ///
    /// Follow redirects outside this layer. Otherwise the responses of redirect targets would count for the first host.
    ///
    /// ```
    /// # type Request = http::Request<String>;
    /// # async fn send(request: Request) -> Result<http::Response<String>, std::io::Error> {
    /// #     let mut response = http::Response::new(String::new());
    /// #     if request.uri().host() == Some("a.example") { *response.status_mut() = http::StatusCode::BAD_GATEWAY; }
    /// #     Ok(response)
    /// # }
    /// # tokio_test::block_on(async {
    /// use tower::{Service, ServiceBuilder, ServiceExt};
    /// use tower_health::{HealthCache, HealthLayer, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    /// let mut client = ServiceBuilder::new()
    ///     .layer(HealthLayer::per_authority(&cache))
    ///     .service(tower::service_fn(send));
    ///
    /// for uri in ["https://a.example/1", "https://a.example/2", "https://b.example/1"] {
    ///     let request = http::Request::get(uri).body(String::new()).unwrap();
    ///     client.ready().await.unwrap().call(request).await.unwrap();
    /// }
    /// assert!(!cache.is_healthy("https://a.example"));
    /// assert!(cache.is_healthy("https://b.example"));
    ///
    /// let customized = HealthLayer::per_authority(&cache)
    ///     .max_providers(500)
    ///     .classify(StatusClassifier::new().neutral_on([500]));
    /// # let _ = customized.layer(tower::service_fn(send));
    /// # use tower::Layer;
    /// # });
    /// ```
    pub fn per_authority(cache: &HealthCache) -> KeyedHealthLayer<StatusClassifier, PerAuthority> {
        KeyedHealthLayer::new(cache, PerAuthority).classify(StatusClassifier::new())
    }
}

impl HealthLayer<GrpcClassifier> {
    /// Guards gRPC calls to `provider`, below the generated client. Classifies them by their `grpc-status`, with the
    /// defaults of [`GrpcClassifier`].
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
    /// A chain for HTTP, without entries. Goes on to the next provider depending on the status of the response, with the
    /// defaults of [`StatusClassifier`]. Adds a [`ServedBy`](crate::ServedBy) to the response's extensions.
    ///
    /// [`guard`](FallbackChain::guard) classifies each provider's responses by the same table, like
    /// [`HealthLayer::http`].
    ///
    /// ```
    /// # type Request = http::Request<String>;
    /// # async fn send(_: Request) -> Result<http::Response<String>, std::io::Error> { Ok(Default::default()) }
    /// # tokio_test::block_on(async {
    /// use tower::ServiceExt;
    /// use tower_health::{FallbackChain, HealthCache, ServedBy, http::StatusClassifier};
    ///
    /// let cache = HealthCache::default();
    /// let chain = FallbackChain::http()
    ///     .guard(cache.provider("search"), tower::service_fn(send))
    ///     .guard(cache.provider("replica"), tower::service_fn(send));
    /// let response = chain.oneshot(Request::default()).await.unwrap();
    /// let served_by = response.extensions().get::<ServedBy>().unwrap();
    /// assert_eq!(&*served_by.provider, "search");
    ///
    /// let customized = FallbackChain::new()
    ///     .advance(StatusClassifier::new().advance_on([404]))
    ///     .guard(cache.provider("archive"), tower::service_fn(send));
    /// # let _ = customized.oneshot(Request::default()).await;
    /// # });
    /// ```
    pub fn http() -> Self
    where
        Req: Clone,
    {
        FallbackChain::new().advance(StatusClassifier::new())
    }
}

impl<S, Req> FallbackChain<S, Req, GrpcClassifier> {
    /// A chain for gRPC, without entries. Goes on to the next provider depending on the `grpc-status` of a response
    /// without a body, with the defaults of [`GrpcClassifier`]. Adds a [`ServedBy`](crate::ServedBy) to the response's
    /// extensions.
    ///
    /// The request, including its body, must be `Clone`. [`guard`](FallbackChain::guard) classifies each provider's
    /// responses by the same table, like [`HealthLayer::grpc`].
    ///
    /// ```
    /// # use http_body_util::Full;
    /// # type Message = Full<bytes::Bytes>;
    /// # async fn send(_: http::Request<Message>) -> Result<http::Response<Message>, std::io::Error> { Ok(Default::default()) }
    /// use tower::service_fn;
    /// use tower_health::{FallbackChain, HealthCache, http::{GrpcClassifier, StatusClassifier}};
    ///
    /// let cache = HealthCache::default();
    ///
    /// let chain = FallbackChain::grpc().guard(cache.provider("search"), service_fn(send));
    ///
    /// // Skip a gateway that does not know the service.
    /// let customized = FallbackChain::new()
    ///     .advance(GrpcClassifier::new().http(StatusClassifier::new().advance_on([404])))
    ///     .guard(cache.provider("archive"), service_fn(send));
    /// # use tower::ServiceExt;
    /// # tokio_test::block_on(async {
    /// #     let _ = chain.oneshot(http::Request::default()).await;
    /// #     let _ = customized.oneshot(http::Request::default()).await;
    /// # });
    /// ```
    pub fn grpc() -> Self
    where
        Req: Clone,
    {
        FallbackChain::new().advance(GrpcClassifier::new())
    }
}

/// Guarded entries use the chain's classifier.
impl GuardRule for StatusClassifier {
    type Classifier = Self;

    fn classifier(&self) -> Self {
        self.clone()
    }
}

/// Guarded entries use the chain's classifier.
impl GuardRule for GrpcClassifier {
    type Classifier = Self;

    fn classifier(&self) -> Self {
        self.clone()
    }
}
