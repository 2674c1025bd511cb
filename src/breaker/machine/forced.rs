//! An operator's override.

use std::time::Duration;

use tokio::time::Instant;

use super::Breaker;
use crate::{
    outcome::Reason,
    util::time::after,
    view::{Override, State},
};

/// An override. It hides the breaker's phase, which outcomes still change.
#[derive(Debug)]
pub(super) struct Forced {
    pub(super) to: Override,
    pub(super) since: Option<Instant>,
    pub(super) until: Instant,
    pub(super) reason: Reason,
    /// Taken over from a snapshot.
    pub(super) is_restored: bool,
}

impl Breaker {
    pub(crate) fn force(&mut self, to: Override, ttl: Duration, reason: Reason, now: Instant) {
        self.force_until(to, after(now, ttl), reason, now);
    }

    pub(crate) fn force_until(
        &mut self,
        to: Override,
        until: Instant,
        reason: Reason,
        now: Instant,
    ) {
        let is_there_already = self.seen().state == State::from(to);
        let since = if is_there_already {
            self.since()
        } else {
            Some(now)
        };
        self.forced = Some(Box::new(Forced {
            to,
            since,
            until,
            reason,
            is_restored: false,
        }));
        self.must_sync();
    }

    pub(crate) fn unforce(&mut self, now: Instant) {
        if let Some(forced) = self.forced.take() {
            self.lift(&forced, now);
            self.must_sync();
        }
    }

    /// Ends an override whose time is over.
    pub(super) fn expire_override(&mut self, now: Instant) {
        if let Some(forced) = self.forced.take_if(|forced| now >= forced.until) {
            self.lift(&forced, forced.until);
        }
    }

    /// Forced → the phase. If both are the same state, `since` is kept.
    fn lift(&mut self, forced: &Forced, at: Instant) {
        let was_there_already = self.seen().state == State::from(forced.to);
        self.since = if was_there_already {
            forced.since
        } else {
            Some(at)
        };
    }
}
