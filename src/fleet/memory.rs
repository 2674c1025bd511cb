use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::store::{Entry, Lease, Reply, Request, Store, Write, WriteRule};
use crate::{error::BoxError, util::time::after};

/// A [`Store`] in the memory of one process, for tests and simulations. Clones share it.
///
/// ```
/// use tower_health::{HealthCache, fleet::{Fleet, MemoryStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = MemoryStore::default();
/// let (one, other) = (HealthCache::default(), HealthCache::default());
/// let replicas = [Fleet::new(&one, store.clone()).spawn(), Fleet::new(&other, store).spawn()];
/// # for replica in replicas { replica.stop().await; }
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
}

#[derive(Default)]
struct Content {
    entries: BTreeMap<String, Held>,
    /// The holder and the end of each lease.
    leases: BTreeMap<String, (u64, Instant)>,
}

struct Held {
    token: u64,
    value: String,
    until: Instant,
}

impl MemoryStore {
    /// Removes all entries and leases, as `FLUSHALL` does in Redis.
    pub fn clear(&self) {
        *self.lock() = Content::default();
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn exchange(&self, request: &Request) -> impl Future<Output = Result<Reply, BoxError>> + Send {
        std::future::ready(Ok(self.lock().exchange(request, Instant::now())))
    }
}

impl Content {
    fn exchange(&mut self, request: &Request, now: Instant) -> Reply {
        self.entries.retain(|_, held| held.until > now);
        self.leases.retain(|_, (_, until)| *until > now);
        for write in &request.writes {
            self.write(write, now);
        }
        for lease in &request.releases {
            let holder = self.leases.get(&lease.key);
            if holder.is_some_and(|(holder, _)| *holder == lease.holder) {
                self.leases.remove(&lease.key);
            }
        }
        let leases = request.leases.iter();
        let granted = leases.map(|lease| self.take(lease, now)).collect();
        let entries = self.entries.iter();
        let entries = entries.map(|(key, held)| Entry {
            key: key.clone(),
            token: held.token,
            value: held.value.clone(),
            remaining: held.until - now,
        });
        Reply {
            entries: entries.collect(),
            granted,
        }
    }

    fn write(&mut self, write: &Write, now: Instant) {
        let present = self.entries.get_mut(&write.key);
        let until = after(now, write.ttl);
        let held = |token| Held {
            token,
            value: write.value.clone(),
            until,
        };
        match (write.rule, present) {
            (WriteRule::Remove, Some(present)) if present.token == write.token => {
                self.entries.remove(&write.key);
            }
            (WriteRule::Remove, _) => {}
            (WriteRule::Extend, Some(present)) => {
                if until > present.until {
                    *present = held(present.token);
                }
            }
            (WriteRule::Extend | WriteRule::Replace, _) if write.ttl.is_zero() => {}
            (WriteRule::Extend, None) | (WriteRule::Replace, _) => {
                self.entries.insert(write.key.clone(), held(write.token));
            }
        }
    }

    fn take(&mut self, lease: &Lease, now: Instant) -> bool {
        let until = after(now, lease.ttl);
        let (holder, ends_at) = self
            .leases
            .entry(lease.key.clone())
            .or_insert((lease.holder, until));
        let is_granted = *holder == lease.holder;
        if is_granted {
            *ends_at = until;
        }
        is_granted
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
