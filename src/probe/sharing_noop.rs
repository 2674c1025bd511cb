use std::{sync::Arc, time::Duration};

use super::{health_probe::HealthProbe, in_flight::Occasion};
use crate::{breaker::Depth, cache::Provider, outcome::Outcome};

#[derive(Clone, Debug, Default)]
pub(super) struct Sharing {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl Sharing {
    #[inline]
    pub(super) fn may_check(
        &self,
        _: &HealthProbe,
        _: &Arc<str>,
        _: Depth,
        _: Occasion,
    ) -> impl Future<Output = bool> + use<> {
        std::future::ready(true)
    }

    #[inline]
    pub(super) fn publish(&self, _: &Provider, _: Depth, _: &Outcome, _: Duration) {}
}
