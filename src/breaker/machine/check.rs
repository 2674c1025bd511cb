//! The results of background checks.

use tokio::time::Instant;

use super::{Breaker, phase::Phase};
use crate::{
    outcome::{Outcome, Reason},
    view::Cause,
};

/// The depth of a check, which decides what its success proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Reachability,
    Functional,
}

impl Breaker {
    /// Records the outcome of a check that started in `epoch`.
    pub(crate) fn check_ended(&mut self, epoch: u64, depth: Depth, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Success => self.checked(epoch, depth, Ok(()), now),
            Outcome::Answered if depth == Depth::Reachability => {
                self.checked(epoch, depth, Ok(()), now);
            }
            Outcome::Failure { reason, .. } | Outcome::Fatal { reason } => {
                self.checked(epoch, depth, Err(reason), now);
            }
            Outcome::Throttled {
                retry_after,
                reason,
            } => {
                self.last_check = Some(now);
                let counts = self.is_current(epoch)
                    && !self.take_live_proof()
                    && !self.slots.has_trial_of(self.epoch);
                self.throttled(counts, retry_after, reason, now);
            }
            Outcome::Answered | Outcome::Neutral => self.last_check = Some(now),
        }
    }

    fn checked(&mut self, epoch: u64, depth: Depth, result: Result<(), Reason>, now: Instant) {
        self.last_check = Some(now);
        if !self.is_current(epoch) {
            return;
        }
        let proven_live = self.take_live_proof();
        match result {
            Ok(()) => self.check_passed(depth, now),
            Err(reason) => {
                self.last_error = Some(reason);
                self.check_failed(proven_live, now);
            }
        }
    }

    fn check_passed(&mut self, depth: Depth, now: Instant) {
        match &self.phase {
            Phase::Closed => {
                self.failed_checks = 0;
                self.end_warning();
            }
            Phase::Open(window) | Phase::HalfOpen(window) => match depth {
                _ if !window.may_end(now) => {}
                Depth::Functional => self.trial_succeeded(now),
                // With `by_probe_only`, a reachability check has no effect, even on a breaker that a probe opened.
                Depth::Reachability if self.policy.trials.by_probe_only => {}
                Depth::Reachability if window.cause == Cause::Probe => self.trial_succeeded(now),
                Depth::Reachability if window.trial_failed => {}
                Depth::Reachability => self.grant_leased_trial(now),
            },
        }
    }

    fn check_failed(&mut self, proven_live: bool, now: Instant) {
        match &self.phase {
            // A live call succeeded meanwhile, which proves more.
            Phase::Closed if proven_live => self.failed_checks = 0,
            Phase::Closed => {
                self.failed_checks = self.failed_checks.saturating_add(1);
                if self.is_warned() || self.failed_checks >= self.policy.trip.failed_checks() {
                    self.trip(Cause::Probe, now);
                }
            }
            // The trial in flight decides.
            Phase::HalfOpen(..) if self.slots.has_trial_of(self.epoch) => {}
            Phase::Open(_) | Phase::HalfOpen(..) => self.extend_open(now),
        }
    }

    /// Returns whether the result of a check that began in `epoch` still counts. In a half-open phase, a check from the
    /// preceding open window counts too.
    fn is_current(&self, epoch: u64) -> bool {
        epoch == self.epoch || (self.is_half_open() && epoch + 1 == self.epoch)
    }
}
