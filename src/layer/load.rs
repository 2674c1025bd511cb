use tower::load::Load;

use super::service::Health;

/// What a [`Health`] service weighs in tower's balancers: any that would refuse the next call weighs
/// more than all that would make it. Feature `load`.
///
/// Refusals end at once. So an endpoint that is down has nothing pending and the best of latencies,
/// and a balancer that went by those alone would choose it again and again. For this to help,
/// the layer must be around the service that measures, as `PendingRequests` and `PeakEwma` do:
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
/// Of two that refuse, either may be called: where the balancer finds no other among those that it
/// compares, the call ends with [`CircuitOpen`](crate::error::CircuitOpen).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthMetric<M> {
    /// The breaker would admit a call; of two, the one whose wrapped service weighs less is lighter.
    // First, so that the derived order makes it the lighter.
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
