//! Opens a provider under the default policy.

use std::time::Duration;

use tokio::time::advance;
use tower_health::{Provider, State};

pub(crate) const OPEN_WINDOW: Duration = Duration::from_secs(60);

pub(crate) fn trip(provider: &Provider) {
    for _ in 0..2 {
        provider.mark_unhealthy("connection refused");
    }
}

pub(crate) async fn half_open(provider: &Provider) {
    trip(provider);
    advance(OPEN_WINDOW).await;
    assert_eq!(provider.health().state, State::HalfOpen);
}
