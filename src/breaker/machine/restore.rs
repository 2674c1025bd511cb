use std::time::Duration;

use tokio::time::Instant;

use super::{Breaker, Forced, HalfOpenRound, OpenWindow, Phase};
use crate::{
    policy::Policy,
    util::time::after,
    view::{Cause, Override, ProviderHealth, State},
};

/// What there is to take over from a row.
enum Restored {
    Forced(Override, Duration),
    Open(Cause),
    HalfOpen(Cause),
}

impl Restored {
    fn by(row: &ProviderHealth) -> Option<Self> {
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
    /// Takes over what a row shows of another time, or of another process. What was heard since counts more.
    pub(crate) fn restore(&mut self, row: &ProviderHealth, now: Instant) {
        if !self.is_untouched() {
            return;
        }
        match Restored::by(row) {
            Some(Restored::Forced(to, left)) => self.force_again(to, left, row, now),
            Some(Restored::Open(cause)) => {
                let window = self.window_again(cause, row, now);
                self.go_on(Phase::Open(window.into()), row, now);
            }
            Some(Restored::HalfOpen(cause)) => {
                let mut window = self.window_again(cause, row, now);
                window.until = now;
                window.requested_until = None;
                // With no slot taken: the results of trials that were under way are not to be had.
                let phase = Phase::HalfOpen(window.into(), HalfOpenRound::new(false));
                self.go_on(phase, row, now);
            }
            None => {}
        }
    }

    /// Whether a row changes anything about a new provider.
    pub(crate) fn is_restored_by(row: &ProviderHealth) -> bool {
        Restored::by(row).is_some()
    }

    /// Nothing has been heard of it yet, good or bad.
    fn is_untouched(&self) -> bool {
        let is_silent = self.last_check.is_none() && !self.has_served;
        is_silent && self.since.is_none() && !self.is_forced()
    }

    /// Closed → open or half-open, as it was.
    fn go_on(&mut self, phase: Phase, row: &ProviderHealth, now: Instant) {
        self.streak.restore(row.consecutive_failures);
        self.level = row.failed_trials;
        self.last_error.clone_from(&row.last_error);
        self.last_check = row.last_check;
        self.enter(phase, row.since.unwrap_or(now));
    }

    /// Closed → forced, for as long as was left of it.
    fn force_again(&mut self, to: Override, left: Duration, row: &ProviderHealth, now: Instant) {
        let reason = row.reason.clone();
        self.last_error.clone_from(&row.last_error);
        self.forced = Some(Box::new(Forced {
            to,
            since: row.since,
            until: after(now, left.min(Override::LONGEST_FROM_OUTSIDE)),
            reason: reason.unwrap_or_else(|| "forced".into()),
        }));
    }

    /// The open window that is left of another, no longer than the policy allows for.
    fn window_again(&self, cause: Cause, row: &ProviderHealth, now: Instant) -> OpenWindow {
        let Policy {
            backoff, throttle, ..
        } = &*self.policy;
        let left = row.retry_in.unwrap_or_default().min(backoff.longest());
        let until = after(now, left);
        let requested_until = row
            .not_before
            .map(|left| after(now, left.min(throttle.max_wait)));
        let mut began = row.since.unwrap_or(now).min(now);
        if self.policy.trials.by_probe_only {
            // What was left is left of the hold.
            began = until
                .checked_sub(backoff.max_hold)
                .unwrap_or(began)
                .min(began);
        }
        OpenWindow {
            cause,
            began,
            until: requested_until.map_or(until, |requested_until| requested_until.max(until)),
            requested_until,
            trial_failed: row.failed_trials > 0,
        }
    }
}
