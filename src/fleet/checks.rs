use std::time::Duration;

use tokio::time::Instant;

use super::contents::SharedCheck;
use crate::{
    breaker::{Depth, Report},
    cache::Provider,
    outcome::Outcome,
    util::time::random_token,
};

/// The results of the fleet's checks of one provider.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The token of the last check that this replica has published or applied.
    last: Option<u64>,
    /// The last check, if it has failed.
    failed: Option<FailedCheck>,
}

#[derive(Clone, Copy, Debug)]
struct FailedCheck {
    replica: u64,
    /// The previous check failed too, on another replica. So the cause is not the network of one replica.
    is_confirmed: bool,
}

impl Checks {
    pub(super) fn is_idle(&self) -> bool {
        self.last.is_none()
    }

    /// Notes the result of this replica's check, and returns it for the others.
    pub(super) fn publish(
        &mut self,
        holder: u64,
        depth: Depth,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) -> SharedCheck {
        let check = SharedCheck {
            token: random_token(),
            replica: holder,
            began: now.checked_sub(took).unwrap_or(now),
            depth,
            outcome,
        };
        self.note(&check);
        check
    }

    /// Returns whether this replica should confirm the last check: it failed on another replica, and no second replica has
    /// confirmed it.
    pub(super) fn must_confirm(&self, holder: u64) -> bool {
        self.failed
            .is_some_and(|failed| !failed.is_confirmed && failed.replica != holder)
    }

    /// Applies the result of another replica's check.
    ///
    /// The failed checks of one replica only warn a closed breaker, because that replica's own network may be at fault. Once a
    /// second replica's check has failed too, or if `trusts_one`, a failed check counts as one of this replica.
    pub(super) fn apply(
        &mut self,
        provider: &Provider,
        report: &Report,
        check: &SharedCheck,
        trusts_one: bool,
    ) {
        if self.last == Some(check.token) {
            return;
        }
        self.note(check);
        let is_doubtful = self.failed.is_some_and(|failed| !failed.is_confirmed);
        if is_doubtful && !trusts_one {
            provider.warn(report.epoch, true);
            return;
        }
        // Only this replica's own successes end a warning.
        if check.is_good() && report.is_warned {
            return;
        }
        // A result does not apply to a phase that began after the check.
        if report.began.is_none_or(|began| began <= check.began) {
            provider.check_ended(report.epoch, check.depth, check.outcome.clone());
        }
    }

    fn note(&mut self, check: &SharedCheck) {
        self.last = Some(check.token);
        let before = self.failed;
        self.failed = (!check.is_good()).then(|| FailedCheck {
            replica: check.replica,
            is_confirmed: before.is_some_and(|before| before.replica != check.replica),
        });
    }
}
