use crate::cache::Snapshot;

/// When `/healthz` and `/health.json` answer 503 instead of 200. A provider counts as down while it is not
/// [healthy](crate::ProviderHealth::healthy).
///
/// The default is [`Never`](Self::Never), because of who asks: an orchestrator takes a 503 to mean that *this*
/// process is ill. As a liveness probe it would restart it, and as a readiness probe take it out of service, on
/// all replicas at once, because of somebody else's outage. The others are for monitors, and for a
/// process that is of no use without its providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnhealthyWhen {
    /// Not on account of providers: 200 for as long as the process answers.
    #[default]
    Never,
    /// One provider or more is down.
    AnyDown,
    /// Every provider is down, and there is one.
    AllDown,
}

impl UnhealthyWhen {
    pub(super) fn is_met_by(self, snapshot: &Snapshot) -> bool {
        let mut providers = snapshot.providers.iter();
        match self {
            Self::Never => false,
            Self::AnyDown => providers.any(|it| !it.healthy),
            Self::AllDown => providers.len() > 0 && providers.all(|it| !it.healthy),
        }
    }
}
