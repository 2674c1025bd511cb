use std::time::Duration;

use tokio::time::Instant;

use crate::{
    breaker::{Report, ReportedPhase},
    cache::Provider,
    util::time::after,
};

/// Number of polls for which a replica leaves the lease to the others, after its trial has failed or its lease was not used.
const POLLS_TO_YIELD: u32 = 3;

/// Number of polls after which a lease that no call has used is given back, if another replica waits for it.
const POLLS_UNUSED: u32 = 5;

/// Number of polls before the end of an unused lease at which it is renewed.
const POLLS_TO_RENEW: u32 = 3;

/// The lease for the fleet's trial of one provider.
#[derive(Debug, Default)]
pub(super) struct Trial {
    held: Option<Held>,
    /// Another replica had the lease when this one last asked.
    is_denied: bool,
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

/// The next request to the store for the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Ask,
    GiveBack,
}

impl Trial {
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_none() && !self.yields
    }

    /// Returns whether this replica waits for the lease of another.
    pub(super) fn is_denied(&self) -> bool {
        self.is_denied
    }

    pub(super) fn granted(&mut self, epoch: u64, since: Instant, until: Instant) {
        let renewed = self.held.filter(|held| held.epoch == epoch);
        self.held = Some(Held {
            epoch,
            since: renewed.map_or(since, |held| held.since),
            until,
            is_used: false,
        });
        self.is_denied = false;
        self.asks_from = None;
    }

    pub(super) fn denied(&mut self) {
        self.is_denied = true;
    }

    /// Decides whether to ask for the lease, to renew it, or to give it back. `is_waited_for`: another replica has been denied it.
    pub(super) fn step(
        &mut self,
        provider: &Provider,
        report: &Report,
        is_waited_for: bool,
        poll: Duration,
        now: Instant,
    ) -> Step {
        if report.phase == ReportedPhase::Closed {
            self.yields = false;
        }
        self.held.take_if(|held| held.until <= now);
        let Some(held) = &mut self.held else {
            return self.ask(report, poll, now);
        };
        held.is_used |= report.has_trial;
        let Held {
            epoch,
            since,
            until,
            is_used,
        } = *held;
        if epoch != report.epoch {
            self.held = None;
            self.yields = matches!(report.phase, ReportedPhase::Open { .. });
            return Step::GiveBack;
        }
        if !is_used && is_waited_for && now - since >= poll * POLLS_UNUSED {
            self.held = None;
            self.yields = true;
            provider.trial_lease_returned(epoch);
            return Step::GiveBack;
        }
        let is_ending = until - now <= poll * POLLS_TO_RENEW;
        if !is_used && !is_waited_for && is_ending {
            return Step::Ask;
        }
        Step::Nothing
    }

    fn ask(&mut self, report: &Report, poll: Duration, now: Instant) -> Step {
        if !report.wants_lease {
            self.asks_from = None;
            self.is_denied = false;
            return Step::Nothing;
        }
        let pause = if self.yields {
            poll * POLLS_TO_YIELD
        } else {
            Duration::ZERO
        };
        if now >= *self.asks_from.get_or_insert_with(|| after(now, pause)) {
            Step::Ask
        } else {
            Step::Nothing
        }
    }
}
