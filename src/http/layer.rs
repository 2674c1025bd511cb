use crate::{HealthLayer, Provider, http::StatusClassifier};

impl HealthLayer<StatusClassifier> {
    /// Guards calls to `provider` over HTTP: judges them by the status of the response, with the
    /// defaults of [`StatusClassifier`].
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
