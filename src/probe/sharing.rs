use std::{sync::Arc, time::Duration};

use super::{health_probe::HealthProbe, in_flight::Occasion};
use crate::{
    breaker::Depth,
    cache::Provider,
    fleet::{CheckLease, FleetChecks},
    outcome::Outcome,
};

/// The fleet with which a probe shares its checks, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Sharing(Option<FleetChecks>);

impl Sharing {
    pub(super) fn with(checks: FleetChecks) -> Self {
        Self(Some(checks))
    }

    /// Returns whether this replica is to make the check.
    pub(super) fn may_check(
        &self,
        probe: &HealthProbe,
        id: &Arc<str>,
        depth: Depth,
        occasion: Occasion,
    ) -> impl Future<Output = bool> + use<> {
        let interval = probe.interval_of(id);
        let lease = match occasion {
            Occasion::Turn => CheckLease::Turn {
                interval,
                // The shortest time between two turns.
                ttl: interval.mul_f64(1.0 - probe.jitter),
            },
            Occasion::WindowEnd => CheckLease::WindowEnd { interval },
        };
        let answer = self
            .0
            .as_ref()
            .map(|checks| checks.may_check(Arc::clone(id), depth, lease));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => true,
            }
        }
    }

    pub(super) fn publish(
        &self,
        provider: &Provider,
        depth: Depth,
        outcome: &Outcome,
        took: Duration,
    ) {
        if let Some(checks) = &self.0 {
            checks.publish(provider.clone(), depth, outcome.clone(), took);
        }
    }
}
