use std::time::Duration;

use tokio::time::Instant;

use crate::{
    breaker::{Report, ReportedPhase},
    util::time::after,
};

/// Polls for which a replica leaves the lease to the others, after its own trial has failed.
const POLLS_AFTER_FAILURE: u32 = 3;

/// The lease for the fleet's trial of one provider.
#[derive(Debug, Default)]
pub(super) struct Trial {
    held: Option<Held>,
    /// This replica made the last trial, which failed. If its own network is at fault, another replica must be next.
    has_failed: bool,
    /// The time from which to ask, in a half-open phase.
    asks_from: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: u64,
    until: Instant,
}

impl Trial {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_none() && !self.has_failed
    }

    pub(super) fn granted(&mut self, epoch: u64, until: Instant) {
        self.held = Some(Held { epoch, until });
        self.asks_from = None;
    }

    /// Returns whether the half-open phase has ended for which the lease was granted.
    pub(super) fn must_give_back(&mut self, report: &Report, now: Instant) -> bool {
        if report.phase == ReportedPhase::Closed {
            self.has_failed = false;
        }
        let Some(held) = self.held.take_if(|held| held.epoch != report.epoch) else {
            self.held.take_if(|held| held.until <= now);
            return false;
        };
        self.has_failed = matches!(report.phase, ReportedPhase::Open { .. });
        held.until > now
    }

    /// Returns whether to ask for the lease now.
    pub(super) fn must_ask(&mut self, report: &Report, poll: Duration, now: Instant) -> bool {
        if !report.wants_lease {
            self.asks_from = None;
            return false;
        }
        let pause = if self.has_failed {
            poll * POLLS_AFTER_FAILURE
        } else {
            Duration::ZERO
        };
        now >= *self.asks_from.get_or_insert_with(|| after(now, pause))
    }
}
