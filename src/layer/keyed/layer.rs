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
    /// Guards a service that calls many providers: `key` borrows the id of the provider from each
    /// request. Default classifier: [`ErrorsAsFailures`].
    ///
    /// See [`KeyedHealthLayer`] for all that there is to say, and an example.
    pub fn keyed<Req, F>(cache: &HealthCache, key: F) -> KeyedHealthLayer<ErrorsAsFailures, F>
    where
        F: Fn(&Req) -> &str,
    {
        KeyedHealthLayer::new(cache, key)
    }
}

/// Wraps services in [`KeyedHealth`]: one client, many providers, a breaker each.
///
/// Made by [`HealthLayer::keyed`] or, over HTTP, by [`HealthLayer::per_authority`].
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
/// // A model that fails is refused, and the others are not.
/// let models = ServiceBuilder::new()
///     .layer(HealthLayer::keyed(&cache, |prompt: &Prompt| prompt.model.as_str()))
///     .service(tower::service_fn(ask));
///
/// // At most a hundred models are remembered; that there is none of this name says nothing.
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
/// The key of a request is the id of its provider in the [`HealthCache`], which the layer keeps
/// alive. One that is new is made, with the cache's policy; one that
/// [is known](HealthCache::provider_with) is used as it is. A request whose key is empty is not
/// guarded: it is called, and what comes of it counts for nobody.
///
/// # Bounds
///
/// Keys come from requests, so that both their length and their number are bounded.
///
/// A key of up to 320 bytes is the id of its provider. The id of a longer one is its first 192 bytes and a hash of the whole,
/// the same in each process. The hash resists chance, not intent: a caller who chooses such keys can make two of them share a
/// breaker.
///
/// Only so many providers are
/// [remembered](Self::max_providers); each new one then takes the place of another. First goes one
/// that is well and was not called lately. An ill one goes only where nobody well is found: one that
/// is open, half-open or forced, or has failed and not succeeded since. It is ill until an hour after
/// its open window ended, or as long as [its streak counts](crate::Trip::within). Of the ill, too, one
/// that nobody asks for goes first: otherwise, a client that has met enough of the dead would guard
/// nobody else ever again.
///
/// A provider that goes is forgotten: called again, it is new. One that the application asks for by
/// [`HealthCache::provider`] stays, now and later, and does not count.
///
/// # Cost
///
/// Each service has handles of its own on up to 256 providers that it has called. To find one of these takes
/// no lock, no allocation, and no write that another thread could see. A clone starts without them, and
/// has to ask the cache for each provider once. So a clone for each task or connection is cheaper than one
/// for each request; where it must be one for each request, they take a few small allocations, and
/// a lock for reading. So does each call with a key that is too long to be an id.
#[derive(Clone)]
#[must_use]
pub struct KeyedHealthLayer<C, K> {
    cache: HealthCache,
    key: K,
    classifier: C,
    max_providers: usize,
}

impl<K> KeyedHealthLayer<ErrorsAsFailures, K> {
    /// Guards a service that calls many providers, whose ids `key` tells. Default classifier:
    /// [`ErrorsAsFailures`].
    ///
    /// For keys that are not borrowed from the request; for those that are, see [`HealthLayer::keyed`].
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
    /// Judges calls by `classifier`.
    pub fn classify<D>(self, classifier: D) -> KeyedHealthLayer<D, K> {
        KeyedHealthLayer {
            cache: self.cache,
            key: self.key,
            classifier,
            max_providers: self.max_providers,
        }
    }

    /// Judges calls by a closure.
    pub fn classify_with<Res, E, F>(self, classifier: F) -> KeyedHealthLayer<ClassifyWith<F>, K>
    where
        F: Fn(Result<&Res, &E>) -> Outcome,
    {
        self.classify(ClassifyWith(classifier))
    }

    /// Maximum number of providers that keyed layers may create; beyond it, a new provider evicts an old one. Those that
    /// were [restored](HealthCache::restore) count too. Default: 10,000.
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
