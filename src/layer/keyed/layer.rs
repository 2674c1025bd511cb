use std::fmt;

use tower_layer::Layer;

use super::providers::Providers;
use super::service::KeyedHealth;
use crate::{
    cache::HealthCache,
    layer::{
        classify::{ClassifyWith, ErrorsAsFailures},
        health_layer::HealthLayer,
    },
    outcome::Outcome,
    util::settings::at_least_one,
};

impl HealthLayer {
    /// Creates a layer for a service that calls many providers. `key` borrows the provider's id from each request. Default
    /// classifier: [`ErrorsAsFailures`].
    ///
    /// For limits, costs and an example, see [`KeyedHealthLayer`].
    pub fn keyed<Req, F>(cache: &HealthCache, key: F) -> KeyedHealthLayer<ErrorsAsFailures, F>
    where
        F: Fn(&Req) -> &str,
    {
        KeyedHealthLayer::new(cache, key)
    }
}

/// Wraps a client that calls many providers in [`KeyedHealth`], with one breaker per provider.
///
/// Created by [`HealthLayer::keyed`] or, over HTTP, by [`HealthLayer::per_authority`].
///
/// ```
/// use std::io;
/// use tower::ServiceBuilder;
/// use tower_health::{HealthCache, HealthLayer, Outcome};
///
/// struct Prompt { model: String }
/// # async fn ask(prompt: Prompt) -> io::Result<String> { Ok(prompt.model) }
/// let cache = HealthCache::default();
///
/// // Calls to a model that fails are refused; calls to other models are not.
/// let models = ServiceBuilder::new()
///     .layer(HealthLayer::keyed(&cache, |prompt: &Prompt| prompt.model.as_str()))
///     .service(tower::service_fn(ask));
///
/// // At most 100 models have a breaker. A model that does not exist is neutral.
/// let customized = ServiceBuilder::new()
///     .layer(
///         HealthLayer::keyed(&cache, |prompt: &Prompt| prompt.model.as_str())
///             .max_providers(100)
///             .classify_with(|result: Result<&String, &io::Error>| match result {
///                 Ok(_) => Outcome::Success,
///                 Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Neutral,
///                 Err(error) => Outcome::failure(error.to_string()),
///             }),
///     )
///     .service(tower::service_fn(ask));
/// # let _ = (models, customized);
/// ```
///
/// # Providers
///
/// The key of a request is the id of its provider in the [`HealthCache`]. The layer keeps the cache alive. A new id creates a
/// provider with the cache's policy. An existing provider keeps its own policy, such as one from
/// [`provider_with`](HealthCache::provider_with).
///
/// A request whose key is empty is not guarded: the inner service is called, and no outcome is recorded.
///
/// # Limits
///
/// Keys come from requests, so their length and their number are limited.
///
/// A key of up to 320 bytes is the provider's id. For a longer key, the id is its first 192 bytes and a hash of the whole key,
/// which is the same in every process. The hash is not cryptographic: a caller who chooses keys can make two of them share a
/// breaker.
///
/// Beyond [`max_providers`](Self::max_providers), each new provider evicts another. Healthy providers are evicted before
/// unhealthy ones. In each group, providers that were not called recently are evicted first. Unhealthy providers are evicted too:
/// otherwise, if they reached the limit, a new provider would have no breaker.
///
/// For eviction, a provider is unhealthy in these cases:
///
/// | state | unhealthy |
/// |---|---|
/// | forced | until the override ends |
/// | open or half-open | until one hour after the open window has ended |
/// | closed | after a failure, until a success or until the streak [expires](crate::Trip::within) |
///
/// An evicted provider loses its state; the next call creates a new one. Once the application has obtained a provider
/// through [`HealthCache::provider`], that provider is never evicted and does not count towards the limit.
///
/// # Cost
///
/// Each service keeps handles to up to 256 providers that it has called. For these, a lookup takes no lock, no allocation, and no
/// write visible to other threads.
///
/// A clone starts without handles and asks the cache for each provider once. Prefer one clone per task or connection to one per
/// request: the first call through a clone takes a read lock and a few small allocations. So does every call with a key of more
/// than 320 bytes.
#[derive(Clone)]
#[must_use]
pub struct KeyedHealthLayer<C, K> {
    cache: HealthCache,
    key: K,
    classifier: C,
    max_providers: usize,
}

impl<K> KeyedHealthLayer<ErrorsAsFailures, K> {
    /// Creates a layer that takes provider ids from `key`. Default classifier: [`ErrorsAsFailures`].
    ///
    /// Use it for ids that are not borrowed from the request. To borrow them, use [`HealthLayer::keyed`].
    pub fn new(cache: &HealthCache, key: K) -> Self {
        Self {
            cache: cache.clone(),
            key,
            classifier: ErrorsAsFailures,
            max_providers: 10_000,
        }
    }
}

impl<C, K> KeyedHealthLayer<C, K> {
    /// Sets the classifier, which maps each call's result to an [`Outcome`]. Default: [`ErrorsAsFailures`].
    pub fn classify<D>(self, classifier: D) -> KeyedHealthLayer<D, K> {
        KeyedHealthLayer {
            cache: self.cache,
            key: self.key,
            classifier,
            max_providers: self.max_providers,
        }
    }

    /// Sets a closure that maps each call's result to an [`Outcome`]. Default: [`ErrorsAsFailures`].
    pub fn classify_with<Res, E, F>(self, classifier: F) -> KeyedHealthLayer<ClassifyWith<F>, K>
    where
        F: Fn(Result<&Res, &E>) -> Outcome,
    {
        self.classify(ClassifyWith(classifier))
    }

    /// Sets the maximum number of providers that keyed layers may create; beyond it, a new provider evicts an old one.
    /// [Restored](HealthCache::restore) providers count too. Default: 10,000.
    ///
    /// # Panics
    ///
    /// If `providers` is 0.
    #[track_caller]
    pub fn max_providers(self, providers: usize) -> Self {
        Self {
            max_providers: at_least_one("KeyedHealthLayer::max_providers", providers),
            ..self
        }
    }
}

impl<S, C: Clone, K: Clone> Layer<S> for KeyedHealthLayer<C, K> {
    type Service = KeyedHealth<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let providers = Providers::new(self.cache.clone(), self.max_providers);
        KeyedHealth::new(inner, providers, self.key.clone(), self.classifier.clone())
    }
}

impl<C: fmt::Debug, K> fmt::Debug for KeyedHealthLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHealthLayer")
            .field("classifier", &self.classifier)
            .field("max_providers", &self.max_providers)
            .finish_non_exhaustive()
    }
}
