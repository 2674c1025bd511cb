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

/// Maximum time for which another process's throttle keeps this breaker open. After that, a trial of its own decides.
const LONGEST_PEER_THROTTLE: Duration = Duration::from_secs(60);

/// Deadlines of two processes that differ by less are the same: remaining times take a moment to arrive.
const SAME_DEADLINE: Duration = Duration::from_millis(500);

/// A breaker's part in a fleet: the processes that share their outages.
#[derive(Debug)]
pub(super) struct Member {
    /// The store of the fleet can be reached.
    is_connected: bool,
    /// Number of times that the breaker has closed.
    closings: u64,
    /// Time for which a half-open breaker waits for the lease before it makes a trial without it.
    lease_wait: Duration,
    lease: TrialLease,
    /// The time from which the trials of this half-open phase need no lease. Set when a call first needs it.
    alone_at: Option<Instant>,
    /// Another process has found the provider down, and no call has succeeded here since.
    is_warned: bool,
    /// The fleet should be asked or informed before the next poll.
    must_sync: bool,
}

/// The right to make the fleet's only trial of a half-open provider.
#[derive(Clone, Copy, Debug)]
enum TrialLease {
    /// No call has needed it yet.
    Unrequested,
    /// A call was refused for want of it.
    Requested,
    Granted {
        until: Instant,
    },
    /// Trials of this half-open phase need no lease.
    NotNeeded,
}

/// The state of a breaker that other processes should know.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) is_in_fleet: bool,
    pub(crate) epoch: u64,
    /// Number of times that the breaker has closed, so that two outages in a row are told apart.
    pub(crate) closings: u64,
    pub(crate) phase: ReportedPhase,
    pub(crate) failed_trials: u32,
    pub(crate) last_error: Option<Reason>,
    pub(crate) is_warned: bool,
    /// The last call has failed.
    pub(crate) is_failing: bool,
    pub(crate) wants_lease: bool,
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
    /// It opens a closed breaker too. Otherwise it only extends an open window.
    pub(crate) opens: bool,
    pub(crate) until: Instant,
    /// The provider asked for this wait.
    pub(crate) is_throttle: bool,
    pub(crate) failed_trials: u32,
    pub(crate) reason: Reason,
}

/// Views.
impl Breaker {
    pub(crate) fn report(&self) -> Report {
        let phase = match &self.phase {
            _ if self.counts_as_closed() => ReportedPhase::Closed,
            Phase::Open(window) => ReportedPhase::Open {
                cause: window.cause,
                until: match window.cause {
                    Cause::Throttled => window.requested_until.unwrap_or(window.until),
                    _ => window.until,
                },
            },
            Phase::HalfOpen(..) | Phase::Closed => ReportedPhase::HalfOpen,
        };
        let member = self.member.as_ref();
        Report {
            is_in_fleet: member.is_some_and(|member| member.is_connected),
            epoch: self.epoch,
            closings: member.map_or(0, |member| member.closings),
            phase,
            failed_trials: self.waits.failed_trials(),
            last_error: self.last_error.clone(),
            is_warned: self.is_warned(),
            is_failing: self.streak.failures() > 0,
            wants_lease: self.needs_trial_lease()
                && member.is_some_and(|it| matches!(it.lease, TrialLease::Requested)),
            forced: self
                .forced
                .as_ref()
                .map(|forced| (forced.to, forced.until, forced.reason.clone())),
        }
    }

    /// Returns whether another process has found the provider down, and no call has succeeded here since.
    pub(super) fn is_warned(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.is_warned)
    }

    /// Returns whether the breaker refuses calls for want of a lease that it has not requested.
    pub(crate) fn lacks_trial_lease(&self) -> bool {
        let lease = self.member.as_ref().map(|member| member.lease);
        self.needs_trial_lease() && matches!(lease, Some(TrialLease::Unrequested))
    }

    /// The time from which a trial needs no lease; `None` if it needs none now.
    pub(super) fn needs_no_lease_at(&self, now: Instant) -> Option<Instant> {
        let member = self.member.as_ref().filter(|_| self.needs_trial_lease())?;
        match member.lease {
            TrialLease::Unrequested | TrialLease::Requested => {
                let full_wait = || after(now, member.lease_wait);
                Some(member.alone_at.unwrap_or_else(full_wait))
            }
            TrialLease::Granted { .. } | TrialLease::NotNeeded => None,
        }
    }

    fn needs_trial_lease(&self) -> bool {
        let is_connected = self.member.as_ref().is_some_and(|it| it.is_connected);
        is_connected && self.is_half_open() && !self.is_starting()
    }
}

/// Events.
impl Breaker {
    /// From now on, trials need a lease, and other processes can open and close this breaker.
    pub(crate) fn join_fleet(&mut self, lease_wait: Duration) {
        let member = self.member.get_or_insert_with(|| {
            Box::new(Member {
                is_connected: true,
                closings: 0,
                lease_wait,
                lease: TrialLease::Unrequested,
                alone_at: None,
                is_warned: false,
                must_sync: false,
            })
        });
        member.is_connected = true;
        member.lease_wait = lease_wait.min(FAR);
    }

    pub(crate) fn leave_fleet(&mut self) {
        if let Some(member) = &mut self.member {
            member.is_connected = false;
            member.is_warned = false;
            member.lease = TrialLease::Unrequested;
            member.alone_at = None;
        }
    }

    /// Returns whether the fleet should be asked or informed now, since this was last called.
    pub(crate) fn take_must_sync(&mut self) -> bool {
        let member = self.member.as_mut();
        member.is_some_and(|member| mem::take(&mut member.must_sync))
    }

    /// A call needs a trial, so the fleet is to be asked for the lease.
    pub(crate) fn request_trial_lease(&mut self, now: Instant) {
        if !self.lacks_trial_lease() {
            return;
        }
        if let Some(member) = &mut self.member {
            // Spread, so that replicas that cannot get the lease do not send their trials together.
            let spread = member.lease_wait.mul_f64(1.0 + 0.5 * random());
            member.alone_at.get_or_insert_with(|| after(now, spread));
            member.lease = TrialLease::Requested;
            member.must_sync = true;
        }
    }

    /// The fleet has granted the lease, which a breaker requested in `epoch`.
    pub(crate) fn trial_lease_granted(&mut self, epoch: u64, until: Instant) {
        if let Some(member) = self.member.as_mut().filter(|_| epoch == self.epoch) {
            member.lease = TrialLease::Granted { until };
        }
    }

    pub(super) fn expire_trial_lease(&mut self, now: Instant) {
        if let Some(Member { lease, .. }) = self.member.as_deref_mut() {
            if matches!(lease, TrialLease::Granted { until } if now >= *until) {
                *lease = TrialLease::Unrequested;
            }
        }
    }

    /// The trials of this half-open phase need no lease.
    pub(super) fn waive_trial_lease(&mut self) {
        if let Some(member) = &mut self.member {
            member.lease = TrialLease::NotNeeded;
        }
    }

    pub(super) fn phase_changed(&mut self) {
        if let Some(member) = &mut self.member {
            member.lease = TrialLease::Unrequested;
            member.alone_at = None;
            member.is_warned = false;
            member.must_sync |= !matches!(self.phase, Phase::HalfOpen(..));
            member.closings += u64::from(matches!(self.phase, Phase::Closed));
        }
    }

    /// The slow start has begun, so the outage is over.
    pub(super) fn started(&mut self) {
        if let Some(member) = &mut self.member {
            member.must_sync = true;
        }
    }

    /// Sets whether another process has found the provider down. A success resets it. Returns false if the breaker has changed
    /// since `epoch`.
    pub(crate) fn warn(&mut self, epoch: u64, is_warned: bool) -> bool {
        let counts = epoch == self.epoch && self.counts_as_closed();
        let member = self.member.as_mut().filter(|_| counts);
        member.is_some_and(|member| {
            member.is_warned = is_warned;
            true
        })
    }

    /// Opens a warned breaker whose last call has failed.
    pub(crate) fn open_warned(&mut self, epoch: u64, now: Instant) {
        if epoch == self.epoch && self.is_warned() && self.streak.failures() > 0 {
            self.open_for_failures(now);
        }
    }

    pub(super) fn end_warning(&mut self) {
        if let Some(member) = &mut self.member {
            member.is_warned = false;
        }
    }

    /// Another process has an open window, or its trial has failed. Returns the deadline, if this breaker takes it over.
    pub(crate) fn peer_opened(
        &mut self,
        epoch: u64,
        peer: PeerWindow,
        now: Instant,
    ) -> Option<Instant> {
        if epoch != self.epoch || peer.until <= now {
            return None;
        }
        let longest = if peer.is_throttle {
            LONGEST_PEER_THROTTLE
        } else {
            self.policy.backoff.max
        };
        let began = match &self.phase {
            Phase::Open(window) if peer.is_throttle => window.began,
            _ => now,
        };
        let until = peer.until.min(after(began, longest));
        if self.counts_as_closed() {
            if peer.opens {
                self.open_for_peer(peer, until - now, now);
            }
            return None;
        }
        let has_trial = self.slots.has_trial_of(self.epoch);
        let (Phase::Open(window) | Phase::HalfOpen(window, _)) = &mut self.phase else {
            return None;
        };
        let is_later = until > window.until + SAME_DEADLINE;
        let extended = OpenWindow {
            until: window.until.max(until),
            requested_until: window
                .requested_until
                .max(peer.is_throttle.then_some(until)),
            trial_failed: window.trial_failed || peer.failed_trials > 0,
            ..**window
        };
        match &mut self.phase {
            Phase::Open(window) => **window = extended,
            // The trial in flight decides, and a throttle is left to this breaker's trial. A deadline that was known when a check
            // ended the wait early is no new failure.
            Phase::HalfOpen(..) if has_trial || peer.is_throttle || !is_later => return None,
            _ => self.enter(Phase::Open(extended.into()), now),
        }
        self.waits.at_least(peer.failed_trials);
        self.take_must_sync();
        is_later.then_some(until)
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

    /// Another process's trial or check has closed its breaker. Returns false if this one must still wait, because the provider
    /// has asked for it.
    pub(crate) fn peer_closed(&mut self, epoch: u64, now: Instant) -> bool {
        if epoch != self.epoch {
            return false;
        }
        if self.counts_as_closed() {
            return true;
        }
        if matches!(&self.phase, Phase::Open(window) | Phase::HalfOpen(window, _) if !window.may_end(now))
        {
            return false;
        }
        self.half_open(false, now);
        if let Phase::HalfOpen(_, round) = &mut self.phase {
            round.successes = self.policy.trials.to_close - 1;
        }
        self.trial_succeeded(now);
        self.take_must_sync();
        true
    }
}
