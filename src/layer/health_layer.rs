use tower_layer::Layer;

use super::{
    classify::{ClassifyWith, ErrorsAsFailures},
    service::Health,
};
use crate::{cache::Provider, outcome::Outcome};

/// Wraps services in [`Health`]: refuses calls while the provider's breaker is open, and records
/// what came of the others.
///
/// Every service that it wraps, and every other layer of the same [`Provider`], shares one breaker.
///
/// ```
/// use std::{io, time::Duration};
/// use tower::{ServiceBuilder, timeout::TimeoutLayer};
/// use tower_health::{HealthCache, HealthLayer, Outcome};
///
/// # async fn send(request: String) -> io::Result<String> { Ok(request) }
/// let cache = HealthCache::default();
///
/// // Errors are failures.
/// let client = ServiceBuilder::new()
///     .layer(HealthLayer::new(cache.provider("search")))
///     .layer(TimeoutLayer::new(Duration::from_secs(3)))
///     .service(tower::service_fn(send));
///
/// // A wrong password says nothing of the database's health.
/// let database = ServiceBuilder::new()
///     .layer(HealthLayer::new(cache.provider("database")).classify_with(
///         |result: Result<&String, &io::Error>| match result {
///             Ok(_) => Outcome::Success,
///             Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Outcome::Neutral,
///             Err(error) => Outcome::failure(error.to_string()),
///         },
///     ))
///     .service(tower::service_fn(send));
/// # let _ = (client, database);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HealthLayer<C = ErrorsAsFailures> {
    provider: Provider,
    classifier: C,
}

impl HealthLayer {
    /// Guards calls to `provider`. Default classifier: [`ErrorsAsFailures`].
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            classifier: ErrorsAsFailures,
        }
    }
}

impl<C> HealthLayer<C> {
    /// Judges calls by `classifier`.
    pub fn classify<D>(self, classifier: D) -> HealthLayer<D> {
        HealthLayer {
            provider: self.provider,
            classifier,
        }
    }

    /// Judges calls by a closure.
    pub fn classify_with<Res, E, F>(self, classifier: F) -> HealthLayer<ClassifyWith<F>>
    where
        F: Fn(Result<&Res, &E>) -> Outcome,
    {
        self.classify(ClassifyWith(classifier))
    }
}

impl<S, C: Clone> Layer<S> for HealthLayer<C> {
    type Service = Health<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Health::new(inner, self.provider.clone(), self.classifier.clone())
    }
}
