//! A breaker that shares its outages with the breakers of the same provider in other processes.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    Breaker,
    phase::{OpenWindow, Phase},
};
use crate::{
    outcome::Reason,
    util::time::{FAR, after, random},
    view::{Cause, Override},
};

/// Maximum time for which another process's throttle keeps this breaker open, without jitter. After that, a trial decides.
const LONGEST_PEER_THROTTLE: Duration = Duration::from_secs(60);

/// Deadlines of two processes that differ by less count as the same, because remaining times take a moment to arrive.
const SAME_DEADLINE: Duration = Duration::from_millis(500);

/// A breaker's part in a fleet: the processes that share their outages.
#[derive(Debug)]
pub(super) struct Member {
    /// The breaker is in the fleet, whose store can be reached.
    is_connected: bool,
    /// Number of times that the breaker has closed.
    closings: u64,
    lease_times: LeaseTimes,
    lease: TrialLease,
    /// The time from which the trials of this half-open phase need no lease. Set when a call first needs it.
    alone_at: Option<Instant>,
    /// The time of the warning that another process has found the provider down. `None` after a success here.
    warned_at: Option<Instant>,
    /// The next exchange with the store should not wait for the next poll.
    must_sync: bool,
}

/// The times for which a half-open breaker waits for the fleet's trial lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTimes {
    /// Time after which the breaker admits trials without the lease. It is lengthened by up to half at random.
    pub(crate) wait: Duration,
    /// The usual time until the fleet answers. Refusals name it as their retry time.
    pub(crate) answer: Duration,
}

/// The lease that lets one process make the fleet's trials of a half-open provider.
#[derive(Clone, Copy, Debug)]
enum TrialLease {
    /// No call has needed it yet.
    Unrequested,
    /// A call was refused because the lease was missing.
    Requested,
    /// Trials are admitted until the lease ends.
    Granted { until: Instant },
    /// Trials of this half-open phase need no lease.
    NotNeeded,
}

/// The state of a breaker that its fleet needs.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(crate) struct Report {
    pub(crate) is_in_fleet: bool,
    pub(crate) epoch: u64,
    /// Number of times that the breaker has closed. It distinguishes two outages in a row.
    pub(crate) closings: u64,
    pub(crate) phase: ReportedPhase,
    /// The time of the trip, of the last failed trial, or of the closing. Checks that began earlier do not apply to this phase.
    pub(crate) began: Option<Instant>,
    /// The breaker admits every call in every phase, so it neither shares its phase nor takes over others'.
    pub(crate) observes_only: bool,
    pub(crate) failed_trials: u32,
    pub(crate) last_error: Option<Reason>,
    pub(crate) is_warned: bool,
    /// A call has failed since the warning, and none has succeeded.
    pub(crate) is_failing: bool,
    pub(crate) wants_lease: bool,
    pub(crate) has_trial: bool,
    /// The override, its end and its reason.
    pub(crate) forced: Option<(Override, Instant, Reason)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportedPhase {
    Closed,
    /// `until` is without the jitter of throttles.
    Open {
        cause: Cause,
        until: Instant,
    },
    HalfOpen,
}

/// An open window of another process.
#[derive(Clone, Debug)]
pub(crate) struct PeerWindow {
    /// It opens a closed breaker.
    pub(crate) opens: bool,
    /// It extends an open window.
    pub(crate) extends: bool,
    pub(crate) until: Instant,
    /// The provider asked for this pause.
    pub(crate) is_throttle: bool,
    pub(crate) failed_trials: u32,
    pub(crate) reason: Reason,
}

/// The effect of a [`PeerWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEffect {
    Ignored,
    /// The breaker is open or half-open for the same outage.
    TookPart,
    /// Like `TookPart`, and the breaker has taken over this deadline.
    Extended(Instant),
}

/// Views.
impl Breaker {
    pub(crate) fn report(&self) -> Report {
        let phase = match &self.phase {
            _ if self.counts_as_closed() => ReportedPhase::Closed,
            // Another process has found a restored window, at another time.
            Phase::Open(window) if window.is_restored => ReportedPhase::Open {
                cause: Cause::Peer,
                until: window.until,
            },
            Phase::Open(window) => ReportedPhase::Open {
                cause: window.cause,
                until: match window.cause {
                    Cause::Throttled => window.requested_until.unwrap_or(window.until),
                    _ => window.until,
                },
            },
            Phase::HalfOpen(..) | Phase::Closed => ReportedPhase::HalfOpen,
        };
        let began = match &self.phase {
            Phase::Closed => self.since,
            Phase::Open(window) | Phase::HalfOpen(window) => Some(window.began),
        };
        let member = self.member.as_ref();
        Report {
            is_in_fleet: member.is_some_and(|member| member.is_connected),
            epoch: self.epoch,
            closings: member.map_or(0, |member| member.closings),
            phase,
            began,
            observes_only: self.policy.observe_only,
            failed_trials: self.waits.failed_trials(),
            last_error: self.last_error.clone(),
            is_warned: self.is_warned(),
            is_failing: self.is_failing(),
            has_trial: self.slots.has_trial_of(self.epoch),
            wants_lease: self.needs_trial_lease()
                && member.is_some_and(|it| matches!(it.lease, TrialLease::Requested)),
            forced: self
                .forced
                .as_ref()
                .filter(|forced| !forced.is_restored)
                .map(|forced| (forced.to, forced.until, forced.reason.clone())),
        }
    }

    /// Returns whether another process has found the provider down, and no call or check has succeeded here since.
    pub(super) fn is_warned(&self) -> bool {
        let member = self.member.as_ref();
        member.is_some_and(|member| member.warned_at.is_some())
    }

    /// Returns whether a call has failed since the warning, and none has succeeded.
    fn is_failing(&self) -> bool {
        let warned_at = self.member.as_ref().and_then(|member| member.warned_at);
        warned_at.is_some_and(|at| self.streak.has_failed_since(at))
    }

    /// Returns whether the breaker refuses calls only because it lacks a lease that it has not requested yet.
    pub(crate) fn lacks_trial_lease(&self, now: Instant) -> bool {
        let lease = self.member.as_ref().map(|member| member.lease);
        let is_forced_open = self
            .forced
            .as_ref()
            .is_some_and(|it| it.to == Override::Open);
        self.needs_trial_lease()
            && matches!(lease, Some(TrialLease::Unrequested))
            && !is_forced_open
            && self.admits_without_lease_at().is_none_or(|at| at <= now)
    }

    /// Returns the time at which a trial may be admitted: when the fleet has answered, or when trials need no lease any more.
    /// `None` if the lease does not prevent a trial now.
    pub(super) fn lease_decides_at(&self, now: Instant) -> Option<Instant> {
        let member = self.member.as_ref().filter(|_| self.needs_trial_lease())?;
        match member.lease {
            TrialLease::Unrequested | TrialLease::Requested => {
                let answer = after(now, member.lease_times.answer);
                Some(member.alone_at.map_or(answer, |at| at.min(answer)))
            }
            TrialLease::Granted { .. } | TrialLease::NotNeeded => None,
        }
    }

    fn needs_trial_lease(&self) -> bool {
        let is_connected = self.member.as_ref().is_some_and(|it| it.is_connected);
        is_connected && self.is_half_open() && !self.is_starting() && !self.policy.observe_only
    }
}

/// Events.
impl Breaker {
    /// Joins the fleet. From now on, trials need a lease, and other processes can open and close this breaker.
    pub(crate) fn join_fleet(&mut self, lease_times: LeaseTimes) {
        let member = self.member.get_or_insert_with(|| {
            Box::new(Member {
                is_connected: true,
                closings: 0,
                lease_times,
                lease: TrialLease::Unrequested,
                alone_at: None,
                warned_at: None,
                must_sync: false,
            })
        });
        member.is_connected = true;
        member.lease_times = lease_times;
    }

    pub(crate) fn leave_fleet(&mut self) {
        if let Some(member) = &mut self.member {
            member.is_connected = false;
            member.warned_at = None;
            member.lease = TrialLease::Unrequested;
            member.alone_at = None;
        }
    }

    /// Returns whether an exchange with the store should follow now, and resets this.
    pub(crate) fn take_must_sync(&mut self) -> bool {
        let member = self.member.as_mut();
        member.is_some_and(|member| mem::take(&mut member.must_sync))
    }

    /// Requests the lease from the fleet, because a call needs a trial.
    pub(crate) fn request_trial_lease(&mut self, now: Instant) {
        if !self.lacks_trial_lease(now) {
            return;
        }
        if let Some(member) = &mut self.member {
            // Random, so that replicas that cannot get the lease do not send their trials at the same time.
            let wait = member
                .lease_times
                .wait
                .min(FAR)
                .mul_f64(1.0 + 0.5 * random());
            member.alone_at.get_or_insert_with(|| after(now, wait));
            member.lease = TrialLease::Requested;
            member.must_sync = true;
        }
    }

    /// Takes the lease that the fleet has granted, if the breaker requested it in this epoch.
    pub(crate) fn trial_lease_granted(&mut self, epoch: u64, until: Instant) {
        if let Some(member) = self.member.as_mut().filter(|_| epoch == self.epoch) {
            member.lease = TrialLease::Granted { until };
        }
    }

    /// Ends the lease, which was given back without a trial.
    pub(crate) fn trial_lease_returned(&mut self, epoch: u64) {
        if let Some(member) = self.member.as_mut().filter(|_| epoch == self.epoch) {
            if matches!(member.lease, TrialLease::Granted { .. }) {
                member.lease = TrialLease::Unrequested;
            }
        }
    }

    pub(super) fn expire_trial_lease(&mut self, now: Instant) {
        if let Some(Member { lease, .. }) = self.member.as_deref_mut() {
            if matches!(lease, TrialLease::Granted { until } if now >= *until) {
                *lease = TrialLease::Unrequested;
            }
        }
    }

    /// Lets the trials of this half-open phase do without a lease.
    pub(super) fn waive_trial_lease(&mut self) {
        if let Some(member) = &mut self.member {
            member.lease = TrialLease::NotNeeded;
        }
    }

    pub(super) fn phase_changed(&mut self) {
        if let Some(member) = &mut self.member {
            member.lease = TrialLease::Unrequested;
            member.alone_at = None;
            member.warned_at = None;
            member.must_sync |= !matches!(self.phase, Phase::HalfOpen(..));
            member.closings += u64::from(matches!(self.phase, Phase::Closed));
        }
    }

    /// Sets whether another process has found the provider down. A success resets it.
    ///
    /// Returns false and sets nothing if the breaker has changed since `epoch`, or does not count as closed.
    pub(crate) fn warn(&mut self, epoch: u64, is_warned: bool, now: Instant) -> bool {
        let counts = epoch == self.epoch && self.counts_as_closed();
        let member = self.member.as_mut().filter(|_| counts);
        member.is_some_and(|member| {
            member.warned_at = is_warned.then(|| member.warned_at.unwrap_or(now));
            true
        })
    }

    /// Opens a warned breaker that is failing.
    pub(crate) fn open_warned(&mut self, epoch: u64, now: Instant) {
        if epoch == self.epoch && self.is_failing() {
            self.open_for_failures(now);
        }
    }

    /// The fleet should be informed now.
    pub(super) fn must_sync(&mut self) {
        if let Some(member) = &mut self.member {
            member.must_sync = true;
        }
    }

    pub(super) fn end_warning(&mut self) {
        if let Some(member) = &mut self.member {
            member.warned_at = None;
        }
    }

    /// Applies another process's open window, which may be new or extended.
    pub(crate) fn peer_opened(&mut self, epoch: u64, peer: PeerWindow, now: Instant) -> PeerEffect {
        if epoch != self.epoch || peer.until <= now {
            return PeerEffect::Ignored;
        }
        let longest = if peer.is_throttle {
            LONGEST_PEER_THROTTLE
        } else {
            self.policy.backoff.max
        };
        if self.counts_as_closed() {
            if !peer.opens {
                return PeerEffect::Ignored;
            }
            let until = peer.until.min(after(now, longest));
            self.open_for_peer(peer, until - now, now);
            return PeerEffect::TookPart;
        }
        let has_trial = self.slots.has_trial_of(self.epoch);
        let max_hold = self.policy.backoff.max_hold;
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &mut self.phase else {
            return PeerEffect::Ignored;
        };
        let limit = if peer.is_throttle {
            after(window.began, longest)
        } else {
            after(now, longest).min(after(window.began, max_hold))
        };
        let until = peer.until.min(limit);
        let is_throttled = match window.cause {
            Cause::Throttled => true,
            Cause::Peer => window.requested_until.is_some(),
            _ => false,
        };
        if is_throttled && !peer.is_throttle {
            return PeerEffect::Ignored;
        }
        // A deadline that was known before a check ended the window early is no new failure.
        if !peer.extends || until <= window.until + SAME_DEADLINE {
            // The end of another outage must not end this pause.
            if let (true, Phase::Open(window)) = (peer.is_throttle, &mut self.phase) {
                window.requested_until = window.requested_until.max(Some(until));
            }
            return PeerEffect::TookPart;
        }
        let extended = OpenWindow {
            until,
            requested_until: window
                .requested_until
                .max(peer.is_throttle.then_some(until)),
            trial_failed: window.trial_failed || peer.failed_trials > 0,
            ..**window
        };
        match &mut self.phase {
            Phase::Open(window) => **window = extended,
            // The trial in flight decides. A peer's throttle does not reopen a half-open breaker: its next trial decides.
            Phase::HalfOpen(..) if has_trial || peer.is_throttle => return PeerEffect::TookPart,
            _ => self.enter(Phase::Open(extended.into()), now),
        }
        self.waits.at_least(peer.failed_trials);
        self.take_must_sync();
        PeerEffect::Extended(until)
    }

    fn open_for_peer(&mut self, peer: PeerWindow, left: Duration, now: Instant) {
        self.waits.forgive(now);
        self.waits.at_least(peer.failed_trials);
        self.last_error = Some(peer.reason);
        let (wait, requested) = if peer.is_throttle {
            (Duration::ZERO, Some(left))
        } else {
            (left, None)
        };
        self.open(Cause::Peer, peer.failed_trials > 0, wait, requested, now);
        self.take_must_sync();
    }

    /// Closes the breaker, or begins its slow start, because another process's breaker has closed.
    ///
    /// Returns false if the breaker has changed since `epoch`, or must still wait because the provider has asked for it.
    pub(crate) fn peer_closed(&mut self, epoch: u64, now: Instant) -> bool {
        if epoch != self.epoch {
            return false;
        }
        if self.counts_as_closed() {
            return true;
        }
        if matches!(&self.phase, Phase::Open(window) | Phase::HalfOpen(window) if !window.may_end(now))
        {
            return false;
        }
        self.half_open(false, now);
        if let Phase::HalfOpen(window) = &mut self.phase {
            window.round.successes = self.policy.trials.to_close - 1;
        }
        self.trial_succeeded(now);
        self.take_must_sync();
        true
    }
}
