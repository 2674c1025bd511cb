use tokio::time::Instant;

use super::store::{Request, Write};

/// Maximum number of pending writes; beyond it, the oldest are dropped.
const MOST: usize = 40_000;

/// The ends of outages, and operators' overrides and their ends. They must reach the store even if an exchange fails, so they are
/// sent again until one succeeds.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The writes, each with the time at which its entry ends.
    writes: Vec<(Write, Instant)>,
    /// Number of these writes in the last request.
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

    /// Removes the writes of the last request, which the store has applied.
    pub(super) fn confirm(&mut self) {
        self.writes.drain(..self.sent);
        self.sent = 0;
    }
}
