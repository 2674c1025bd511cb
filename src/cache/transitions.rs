use tokio::sync::broadcast;

use crate::{
    util::panics::{catch, with_safe_waker},
    view::Transition,
};

/// A subscription to the transitions of all providers of a cache, each once, in order per provider.
///
/// [`HealthCache::subscribe`](crate::HealthCache::subscribe) returns it. A slow subscriber delays neither calls nor other
/// subscribers: up to 1,024 transitions wait for it. Beyond that the oldest are dropped and [counted](Self::missed).
///
/// To get a `Stream`, use the `futures` crate:
/// `stream::unfold(transitions, async |mut t| t.recv().await.map(|next| (next, t)))`.
#[derive(Debug)]
#[must_use = "a subscription that is dropped receives nothing"]
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

    /// Waits for the next transition. Returns `None` once the cache and all its providers are dropped.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future loses no transition.
    pub async fn recv(&mut self) -> Option<Transition> {
        loop {
            match with_safe_waker(self.receiver.recv()).await {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Returns the next transition, if there is one already.
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

    /// Returns the number of transitions that were dropped because this subscriber was too slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Calls `listener` for each transition, until the cache and all its providers are dropped. Spawn the returned future.
    ///
    /// The listener runs in that task, so it cannot delay or fail a call, and may use the cache. If it panics, it is called
    /// again for the next transition.
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
