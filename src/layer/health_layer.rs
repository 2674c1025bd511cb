use tower_layer::Layer;

use super::{
    classify::{ClassifyWith, ErrorsAsFailures},
    service::Health,
};
use crate::{cache::Provider, outcome::Outcome};

/// Wraps services in [`Health`], which refuses calls while the provider's breaker is open and records the outcomes of admitted
/// calls.
///
/// The breaker belongs to the [`Provider`]: all layers created from it, and all services that they wrap, share the breaker.
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
/// // A wrong password does not count against the database.
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
    /// Creates a layer that guards calls to `provider`. Default classifier: [`ErrorsAsFailures`].
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            classifier: ErrorsAsFailures,
        }
    }
}

impl<C> HealthLayer<C> {
    /// Sets the classifier, which maps each call's result to an [`Outcome`]. Default: [`ErrorsAsFailures`].
    pub fn classify<D>(self, classifier: D) -> HealthLayer<D> {
        HealthLayer {
            provider: self.provider,
            classifier,
        }
    }

    /// Sets a closure that maps each call's result to an [`Outcome`]. Default: [`ErrorsAsFailures`].
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
