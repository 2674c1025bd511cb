use std::time::Duration;

use tokio::time::Instant;

use crate::{
    breaker::{Report, ReportedPhase},
    cache::Provider,
    util::time::after,
};

/// Number of polls for which a replica leaves the lease to the others, after its trial has failed or its lease was not used.
const POLLS_TO_YIELD: u32 = 3;

/// Number of polls after which a lease that no call has used is given back.
const POLLS_UNUSED: u32 = 5;

/// The lease for the fleet's trial of one provider.
#[derive(Debug, Default)]
pub(super) struct Trial {
    held: Option<Held>,
    /// The other replicas go first: this replica's trial failed, perhaps because of its own network, or it had no call.
    yields: bool,
    /// The time from which to ask for the lease, in a half-open phase with demand.
    asks_from: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: u64,
    since: Instant,
    until: Instant,
    is_used: bool,
}

impl Trial {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_none() && !self.yields
    }

    pub(super) fn granted(&mut self, epoch: u64, since: Instant, until: Instant) {
        self.held = Some(Held {
            epoch,
            since,
            until,
            is_used: false,
        });
        self.asks_from = None;
    }

    /// Returns whether to give the lease back, because the half-open phase has ended, or because no call has used the lease.
    pub(super) fn must_give_back(
        &mut self,
        provider: &Provider,
        report: &Report,
        poll: Duration,
        now: Instant,
    ) -> bool {
        if report.phase == ReportedPhase::Closed {
            self.yields = false;
        }
        let Some(mut held) = self.held.take() else {
            return false;
        };
        let is_live = held.until > now;
        if held.epoch != report.epoch {
            self.yields = matches!(report.phase, ReportedPhase::Open { .. });
            return is_live;
        }
        held.is_used |= report.has_trial;
        if !held.is_used && now - held.since >= poll * POLLS_UNUSED {
            self.yields = true;
            provider.trial_lease_returned(held.epoch);
            return is_live;
        }
        self.held = Some(held).filter(|_| is_live);
        false
    }

    /// Returns whether to ask for the lease now.
    pub(super) fn must_ask(&mut self, report: &Report, poll: Duration, now: Instant) -> bool {
        if !report.wants_lease {
            self.asks_from = None;
            return false;
        }
        let pause = if self.yields {
            poll * POLLS_TO_YIELD
        } else {
            Duration::ZERO
        };
        now >= *self.asks_from.get_or_insert_with(|| after(now, pause))
    }
}
