//! Restores a breaker from a row of a snapshot.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Breaker,
    forced::Forced,
    phase::{HalfOpenRound, OpenWindow, Phase},
};
use crate::{
    policy::Policy,
    util::time::{after, random},
    view::{Cause, Override, ProviderHealth, State},
};

/// The state that a row restores. A row in another state leaves the breaker closed.
enum Restored {
    Forced(Override, Duration),
    Open(Cause),
    HalfOpen(Cause),
}

impl Restored {
    fn from_row(row: &ProviderHealth) -> Option<Self> {
        match (row.state, row.cause, row.forced_for) {
            (State::Open, Some(Cause::Forced), Some(left)) => {
                Some(Self::Forced(Override::Open, left))
            }
            (State::Closed, Some(Cause::Forced), Some(left)) => {
                Some(Self::Forced(Override::Closed, left))
            }
            (State::Closed, ..) | (_, None | Some(Cause::Forced), _) => None,
            (State::Open, Some(cause), _) => Some(Self::Open(cause)),
            (State::HalfOpen, Some(cause), _) => Some(Self::HalfOpen(cause)),
        }
    }
}

impl Breaker {
    /// Takes over the state of a row, unless a call, a check or an operator has already acted on this breaker.
    pub(crate) fn restore(&mut self, row: &ProviderHealth, now: Instant) {
        if !self.is_untouched() {
            return;
        }
        match Restored::from_row(row) {
            Some(Restored::Forced(to, left)) => self.restore_override(to, left, row, now),
            Some(Restored::Open(cause)) => {
                let window = self.restored_window(cause, row, now);
                self.resume(Phase::Open(window.into()), row, now);
            }
            Some(Restored::HalfOpen(cause)) => {
                let mut window = self.restored_window(cause, row, now);
                window.until = now;
                window.requested_until = None;
                // No slot is taken, because the results of the other process's trials never arrive here.
                let phase = Phase::HalfOpen(window.into());
                self.resume(phase, row, now);
            }
            None => {}
        }
    }

    /// Returns whether a row would change a new provider.
    pub(crate) fn is_restored_by(row: &ProviderHealth) -> bool {
        Restored::from_row(row).is_some()
    }

    /// Returns whether no call, check or operator has acted on the breaker. Results that write nothing, such as neutral
    /// ones, do not count.
    fn is_untouched(&self) -> bool {
        let has_no_result = self.last_check.is_none() && !self.has_served;
        has_no_result && self.since.is_none() && !self.is_forced()
    }

    /// Closed → open or half-open, as in the row.
    fn resume(&mut self, phase: Phase, row: &ProviderHealth, now: Instant) {
        self.streak.restore(row.consecutive_failures);
        self.waits.restore(row.failed_trials);
        self.last_error.clone_from(&row.last_error);
        self.last_check = row.last_check;
        self.enter(phase, row.since.unwrap_or(now));
    }

    /// Closed → forced, for the rest of the override's time.
    fn restore_override(
        &mut self,
        to: Override,
        left: Duration,
        row: &ProviderHealth,
        now: Instant,
    ) {
        let reason = row.reason.clone();
        self.last_error.clone_from(&row.last_error);
        self.forced = Some(Box::new(Forced {
            to,
            since: row.since,
            until: after(now, left.min(Override::LONGEST_FROM_OUTSIDE)),
            reason: reason.unwrap_or_else(|| "forced".into()),
            is_restored: true,
        }));
    }

    /// Returns an open window for the rest of the row's wait, limited by the policy.
    fn restored_window(&self, cause: Cause, row: &ProviderHealth, now: Instant) -> OpenWindow {
        let Policy {
            backoff, throttle, ..
        } = &*self.policy;
        let left = row.retry_in.unwrap_or_default();
        let until = after(now, left.min(backoff.longest()));
        // The jitter of a throttle goes on after the requested time, which its row then no longer has.
        let passed = (cause == Cause::Throttled).then_some(Duration::ZERO);
        let requested = row.not_before.or(passed);
        let jittered = requested.map_or(Duration::ZERO, |wait| {
            let jitter = left.saturating_sub(wait).min(throttle.longest_jitter());
            wait.min(throttle.max_wait).saturating_add(jitter)
        });
        let mut began = row.since.unwrap_or(now).min(now);
        if self.policy.trials.by_probe_only {
            // The row's wait is the rest of `max_hold`.
            began = until
                .checked_sub(backoff.max_hold)
                .unwrap_or(began)
                .min(began);
        }
        OpenWindow {
            cause,
            began,
            until: until.max(after(now, jittered)),
            requested_until: requested.map(|wait| after(now, wait.min(throttle.max_wait))),
            chance: random(),
            trial_failed: row.failed_trials > 0,
            is_restored: true,
            round: HalfOpenRound::new(false),
        }
    }
}
