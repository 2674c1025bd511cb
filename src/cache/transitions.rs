use tokio::sync::broadcast;

use crate::{
    util::panics::{catch, with_safe_waker},
    view::Transition,
};

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

impl Transitions {
    pub(super) fn new(receiver: broadcast::Receiver<Transition>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

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
            catch(|| listener(transition));
        }
    }
}
