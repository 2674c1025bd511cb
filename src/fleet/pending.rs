use tokio::time::Instant;

use super::store::{Request, Write};

/// Maximum number of writes that wait; beyond it, the oldest are dropped.
const MOST: usize = 1_000;

/// Writes that must reach the store, although the exchange that has them may fail: the ends of outages, and the overrides of
/// operators. They are sent again until an exchange succeeds.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// With the time at which each entry ends.
    writes: Vec<(Write, Instant)>,
    /// Number of writes in the request that is being answered.
    sent: usize,
}

impl Pending {
    pub(super) fn push(&mut self, write: Write, until: Instant) {
        if self.writes.len() == MOST {
            self.writes.remove(0);
        }
        self.writes.push((write, until));
    }

    /// Adds the writes to a request, before all others.
    pub(super) fn add_to(&mut self, request: &mut Request, now: Instant) {
        self.writes.retain(|(_, until)| *until > now);
        self.sent = self.writes.len();
        let writes = self.writes.iter().map(|(write, until)| Write {
            ttl: *until - now,
            ..write.clone()
        });
        request.writes.splice(0..0, writes);
    }

    /// The store has applied the request.
    pub(super) fn confirm(&mut self) {
        self.writes.drain(..self.sent);
        self.sent = 0;
    }
}
