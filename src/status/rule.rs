use crate::{
    cache::Snapshot,
    view::{ProviderHealth, State},
};

/// Rule for when `/healthz` and `/health.json` return 503 instead of 200. A provider is down while its breaker is open and refuses
/// calls. A half-open one is not down: it needs a call as its trial, which a process out of service does not get.
///
/// The default is [`Never`](Self::Never). An orchestrator reads a 503 as a failure of *this* process: a failed liveness
/// probe restarts it, and a failed readiness probe takes it out of service. A provider's outage would do that to all
/// replicas at once. Use the other rules for monitors, or for a process that is useless without its providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnhealthyWhen {
    /// Always 200, whatever the state of the providers.
    #[default]
    Never,
    /// 503 while at least one provider is down.
    AnyDown,
    /// 503 while every provider is down. 200 while there are no providers.
    AllDown,
}

impl UnhealthyWhen {
    pub(super) fn is_met_by(self, snapshot: &Snapshot) -> bool {
        let mut providers = snapshot.providers.iter();
        let is_down = |it: &ProviderHealth| it.state == State::Open && !it.healthy;
        match self {
            Self::Never => false,
            Self::AnyDown => providers.any(is_down),
            Self::AllDown => providers.len() > 0 && providers.all(is_down),
        }
    }
}
