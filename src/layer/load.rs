use tower::load::Load;

use super::service::Health;

/// Load of a [`Health`] service for tower's balancers. Feature `load`.
///
/// A service that would refuse the next call has a higher load than any service that would admit it. Otherwise, a balancer would
/// keep choosing an endpoint that is down: refusals return at once, so it would have the fewest pending calls and the lowest
/// latency.
///
/// Put the layer around the service that measures load, such as `PendingRequests` or `PeakEwma`:
///
/// ```
/// use std::time::Duration;
/// use tower::{
///     Layer, balance::p2c::Balance, discover::ServiceList,
///     load::{CompleteOnResponse, Constant, PeakEwma, PendingRequests},
/// };
/// use tower_health::{HealthCache, HealthLayer};
///
/// # async fn send(request: String) -> std::io::Result<String> { Ok(request) }
/// let cache = HealthCache::default();
///
/// let by_pending = |address| {
///     let client = PendingRequests::new(tower::service_fn(send), CompleteOnResponse::default());
///     HealthLayer::new(cache.provider(address)).layer(client)
/// };
/// let endpoints = ServiceList::new::<String>(["10.0.0.1", "10.0.0.2"].map(by_pending));
/// let balancer = Balance::new(endpoints);
///
/// let by_latency = |address| {
///     let second = Duration::from_secs(1);
///     let complete = CompleteOnResponse::default();
///     let client = PeakEwma::new(tower::service_fn(send), second, 10e9, complete);
///     HealthLayer::new(cache.provider(address)).layer(client)
/// };
/// let endpoints = ServiceList::new::<String>(["10.0.0.1", "10.0.0.2"].map(by_latency));
/// let customized = Balance::new(endpoints);
/// # let _ = (balancer, customized);
/// ```
///
/// If all endpoints that the balancer compares would refuse, it picks any of them, and the call fails with
/// [`CircuitOpen`](crate::error::CircuitOpen).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthMetric<M> {
    /// The breaker would admit a call. Two such services are compared by the load of their inner services.
    // First, so that the derived order makes it less than `Refusing`.
    Admitting(M),
    /// The breaker would refuse a call.
    Refusing,
}

impl<S: Load, C> Load for Health<S, C> {
    type Metric = HealthMetric<S::Metric>;

    fn load(&self) -> Self::Metric {
        if self.provider().is_healthy() {
            HealthMetric::Admitting(self.get_ref().load())
        } else {
            HealthMetric::Refusing
        }
    }
}
