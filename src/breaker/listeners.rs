use tokio::sync::{broadcast, watch};

use crate::view::Transition;

/// How many transitions a subscriber may lag behind before the oldest are dropped.
const BACKLOG: usize = 1024;

/// Whom the cells of a cache tell what happens.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) transitions: broadcast::Sender<Transition>,
    /// An override has moved the next change of a state without a transition.
    pub(crate) overrides: watch::Sender<()>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            transitions: broadcast::Sender::new(BACKLOG),
            overrides: watch::Sender::default(),
        }
    }
}
