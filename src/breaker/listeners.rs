use tokio::sync::{broadcast, watch};

use crate::{telemetry::ChainLogs, view::Transition};

/// Number of transitions that a subscriber may lag behind before the oldest are dropped.
const BACKLOG: usize = 1024;

/// The channels on which the breakers of one cache announce changes, and the logs of the chains that call them.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) transitions: broadcast::Sender<Transition>,
    /// Sent when an override changes the time of the next change of state, even if no transition follows.
    pub(crate) overrides: watch::Sender<()>,
    /// Sent when a breaker should ask or inform its fleet before the next poll.
    pub(crate) syncs: watch::Sender<()>,
    pub(crate) chains: ChainLogs,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            transitions: broadcast::Sender::new(BACKLOG),
            overrides: watch::Sender::default(),
            syncs: watch::Sender::default(),
            chains: ChainLogs::default(),
        }
    }
}
