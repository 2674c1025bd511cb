use std::{future::Future, time::Duration};

use crate::error::BoxError;

/// A store that all replicas of a fleet share, such as Redis.
///
/// It holds *entries*, which every replica reads, and *leases*, of which each has one holder. Both end by themselves when their
/// time is over, by the store's clock: replicas send and get remaining times, so their own clocks need not agree.
///
/// `tower-health-redis` implements it for Redis and Valkey, and [`MemoryStore`](super::MemoryStore) in memory, for tests.
///
/// # Implementing it
///
/// - Apply the writes, the releases and the lease requests of one request in this order and in one atomic step; then read.
/// - Keys and values are any text. Keep each as it came.
/// - Answer in bounded time. Each exchange is cut off by [`Fleet::timeout`](super::Fleet::timeout), and its future is dropped.
///   The store may have applied the request nevertheless: applying it again must do no harm, and does none with these rules.
pub trait Store: Send + Sync + 'static {
    /// Applies a request, and returns all entries.
    ///
    /// # Errors
    ///
    /// Any error means that the store is unreachable or cannot be used. The replica then goes on without the fleet, and tries
    /// again.
    fn exchange(&self, request: &Request) -> impl Future<Output = Result<Reply, BoxError>> + Send;
}

/// The changes that a replica makes in one [exchange](Store::exchange).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Changes of entries, in order.
    pub writes: Vec<Write>,
    /// Leases to give back. A lease that another replica holds does not change.
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
    /// The identity of what the entry is about, for example of one outage.
    pub token: u64,
    /// The new value.
    pub value: String,
    /// The entry's remaining time.
    pub ttl: Duration,
    /// The effect on an entry that is there.
    pub rule: WriteRule,
}

impl Write {
    /// Creates a write that extends an entry, still without token and remaining time.
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

/// The effect of a [`Write`] on an entry that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteRule {
    /// Replaces the entry.
    Replace,
    /// Keeps the entry's token. Takes over the value and the remaining time if that is longer than the entry's.
    Extend,
    /// Removes the entry if it has the write's token. Adds nothing.
    Remove,
}

/// A lease that a replica takes or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The lease's key, which is independent of the keys of entries.
    pub key: String,
    /// The replica that asks. It can take a lease again that it holds, which renews it.
    pub holder: u64,
    /// The time after which the lease ends.
    pub ttl: Duration,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// All entries whose time is not over, in any order.
    pub entries: Vec<Entry>,
    /// For each of the request's leases, in order: whether the replica has it.
    pub granted: Vec<bool>,
}

/// An entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's key.
    pub key: String,
    /// The token of the last [write](Write), or of the first if later ones [extended](WriteRule::Extend) it.
    pub token: u64,
    /// The value.
    pub value: String,
    /// The time that remains, as of the exchange.
    pub remaining: Duration,
}
