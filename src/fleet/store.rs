use std::{future::Future, time::Duration};

use crate::error::BoxError;

/// A store that all replicas of a fleet share, such as Redis.
///
/// It holds *entries*, which every replica reads, and *leases*, each of which has one holder. The store removes both when their
/// time is over, by its own clock. Replicas send and receive remaining times, so their clocks need not agree.
///
/// `tower-health-redis` implements it for Redis and Valkey. [`MemoryStore`](super::MemoryStore) keeps everything in memory, for
/// tests.
///
/// # Implementing it
///
/// - Apply the writes, the releases and the lease requests of a request in this order and in one atomic step. Then read the
///   entries.
/// - Ignore a write with a remaining time of zero, except for [`WriteRule::Remove`].
/// - Keys and values are arbitrary text. Return them unchanged.
/// - Expect cancellation: an exchange that takes longer than [`Fleet::timeout`](super::Fleet::timeout) is dropped. The store may
///   have applied its request nevertheless, and the replica may send the same changes again. With these rules, that does no harm.
pub trait Store: Send + Sync + 'static {
    /// Applies a request, and returns all entries.
    ///
    /// # Errors
    ///
    /// Any error means that the store is unreachable or cannot be used. The replica tries again. After two errors in a row, it
    /// goes on without the fleet until an exchange succeeds.
    fn exchange(&self, request: &Request) -> impl Future<Output = Result<Reply, BoxError>> + Send;
}

/// The changes that a replica makes in one [exchange](Store::exchange).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Changes of entries, in order.
    pub writes: Vec<Write>,
    /// Leases to give back. A lease of another [holder](Lease::holder) does not change.
    pub releases: Vec<Lease>,
    /// Leases to take.
    pub leases: Vec<Lease>,
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// The entry that changes.
    pub key: String,
    /// A random number that identifies the subject of the entry, for example one outage; 0 for a row.
    pub token: u64,
    /// The new value.
    pub value: String,
    /// The time after which the entry ends.
    pub ttl: Duration,
    /// The effect on an existing entry with this key.
    pub rule: WriteRule,
}

impl Write {
    /// Creates a write that extends an entry. The caller sets its token and its time.
    pub(super) fn extend(key: String, value: String) -> Self {
        Self {
            key,
            token: 0,
            value,
            ttl: Duration::ZERO,
            rule: WriteRule::Extend,
        }
    }
}

/// The effect of a [`Write`] on an existing entry with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRule {
    /// Replaces the entry. If there is none, adds it.
    Replace,
    /// Keeps the entry's token. Replaces its value and its time if the new time is longer. If there is no entry, adds it.
    Extend,
    /// Removes the entry if it has the write's token. If there is none, adds nothing.
    Remove,
}

/// A lease that a replica takes or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The lease's key, which is independent of the keys of entries.
    pub key: String,
    /// A random number that identifies the replica. A replica that already holds the lease renews it.
    pub holder: u64,
    /// The time after which the lease ends. Unused in a release.
    pub ttl: Duration,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// All entries whose time is not over, in any order.
    pub entries: Vec<Entry>,
    /// For each of the request's [`leases`](Request::leases), in order, whether the replica now holds it.
    pub granted: Vec<bool>,
}

/// An entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's key.
    pub key: String,
    /// The token of the write that added or last [replaced](WriteRule::Replace) the entry.
    pub token: u64,
    /// The value.
    pub value: String,
    /// The remaining time at the moment of the exchange.
    pub remaining: Duration,
}
