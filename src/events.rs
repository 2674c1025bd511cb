use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use crate::{
    Cause, Reason, State,
    foreign::{contain, with_safe_waker},
    line::Line,
};

/// How many transitions a subscriber may lag behind before the oldest are dropped.
const BACKLOG: usize = 1024;

/// A provider's circuit breaker has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// Whose.
    pub provider: Arc<str>,
    /// From which state.
    pub from: State,
    /// To which state.
    pub to: State,
    /// What opened the breaker, on the way back too.
    pub cause: Option<Cause>,
    /// What was heard against the provider, or what the operator gave as the reason.
    pub reason: Option<Reason>,
    /// When. A window that ran out unseen is announced later, with the time at which it did.
    pub at: Instant,
    /// How long until a call is admitted, as far as was known then; `None`: at once.
    pub retry_in: Option<Duration>,
}

/// `groq: closed -> open (failures: connection refused)`
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provider, from, to, ..
        } = self;
        write!(f, "{}: {from} -> {to}", Line(provider))?;
        match (&self.cause, &self.reason) {
            (Some(cause), Some(reason)) => write!(f, " ({cause}: {reason})"),
            (Some(cause), None) => write!(f, " ({cause})"),
            _ => Ok(()),
        }
    }
}

/// Every transition of every provider of a cache, each once, in order per provider.
///
/// Made by [`HealthCache::subscribe`](crate::HealthCache::subscribe). A subscriber that is slow
/// delays no call and no other subscriber: 1,024 transitions wait for it, then the oldest are
/// dropped and [counted](Self::missed).
///
/// As a `Stream`, with the `futures` crate:
/// `stream::unfold(transitions, async |mut t| t.recv().await.map(|next| (next, t)))`.
#[derive(Debug)]
#[must_use = "transitions are seen by receiving them"]
pub struct Transitions {
    receiver: broadcast::Receiver<Transition>,
    missed: u64,
}

/// Whom the cells of a cache tell what happens.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) transitions: broadcast::Sender<Transition>,
    /// An override has moved the next change of a state without a transition.
    pub(crate) overrides: watch::Sender<()>,
}

impl Listeners {
    pub(crate) fn subscribe(&self) -> Transitions {
        Transitions {
            receiver: self.transitions.subscribe(),
            missed: 0,
        }
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            transitions: broadcast::Sender::new(BACKLOG),
            overrides: watch::Sender::default(),
        }
    }
}

impl Transitions {
    /// The next transition; `None` once the cache and all its providers are gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no transition is lost by dropping the future.
    pub async fn recv(&mut self) -> Option<Transition> {
        loop {
            match with_safe_waker(self.receiver.recv()).await {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next transition, if it has come.
    #[cfg(feature = "status")]
    pub(crate) fn try_recv(&mut self) -> Option<Transition> {
        loop {
            match self.receiver.try_recv() {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.missed += missed,
                Err(_) => return None,
            }
        }
    }

    /// How many transitions were dropped because this subscriber lagged behind.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Calls `listener` with each transition, until the cache and all its providers are gone: the
    /// callback form, to be spawned.
    ///
    /// The listener runs in the caller's task, so it can neither delay nor break a call, and may use
    /// the cache freely. One that panics is called again with the next transition.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cache = tower_health::HealthCache::default();
    /// tokio::spawn(cache.subscribe().for_each(|transition| println!("{transition}")));
    /// # }
    /// ```
    pub async fn for_each(mut self, mut listener: impl FnMut(Transition)) {
        while let Some(transition) = self.recv().await {
            contain(|| listener(transition));
        }
    }
}
