//! The state machine of one provider: one method per event, one method per transition.
//!
//! It has no lock, no clock and no listeners. The caller passes `now`, and compares [`seen`](Breaker::seen) before and after an
//! event to find a transition. Before an event, the caller [advances](Breaker::advance_to) the breaker to the same `now`.
//!
//! - `phase`: closed, open or half-open, and the open window. `forced`: the override that hides the phase.
//! - `streak` and `rate_window` decide when a closed breaker trips; `wait_levels` decides how long it stays open.
//! - `slots`: the trials in flight. `outer`: the layers that leave trial slots to an inner layer.
//! - `check` handles the results of checks, and `restore` the rows of a snapshot. `judged` labels results for metrics,
//!   and counts the calls that the phase refused.
//! - `member` handles what other processes report.

mod check;
mod forced;
mod judged;
mod layer_id;
#[cfg_attr(not(feature = "fleet"), allow(dead_code))]
mod member;
mod outer;
mod phase;
mod rate_window;
mod restore;
mod slots;
mod streak;
mod wait_levels;

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

#[cfg(feature = "fleet")]
pub(crate) use self::member::{LeaseTimes, PeerEffect, PeerWindow, Report, ReportedPhase};
pub(crate) use self::{check::Depth, layer_id::LayerId};
use self::{
    forced::Forced,
    member::Member,
    outer::Outer,
    phase::{HalfOpenRound, OpenWindow, Phase},
    rate_window::RateWindow,
    slots::Slots,
    streak::Streak,
    wait_levels::WaitLevels,
};
use super::ticket::{Ticket, Trial};
use crate::{
    outcome::{Judged, Outcome, OutcomeLabel, Reason},
    policy::Policy,
    util::time::{MonotonicNanos, after, random},
    view::{Cause, Override, ShadowCalls, State},
};

/// Minimum time between two granted trials of a provider. A granted trial ends the open window early.
const GRANT_PAUSE: Duration = Duration::from_secs(1);

/// Successes after which a slow start ends, however many calls are in flight.
const MAX_START_SUCCESSES: u32 = 1_024;

/// Eviction treats a provider as unhealthy for this long after its open window has ended, if no trial follows.
const HISTORY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The state and cause that callers and operators see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
}

#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(crate) struct Breaker {
    policy: Arc<Policy>,
    /// The policy was set for this provider, so the cache's policy no longer applies.
    has_own_policy: bool,
    phase: Phase,
    forced: Option<Box<Forced>>,
    /// Set while the cache shares its outages with other processes.
    member: Option<Box<Member>>,
    epoch: u64,
    since: Option<Instant>,
    streak: Streak,
    rate_window: Option<Box<RateWindow>>,
    /// Failed checks in a row while closed.
    failed_checks: u32,
    /// A live call has succeeded.
    has_served: bool,
    /// A live call has succeeded since the last check.
    proven_live: bool,
    /// Calls have failed and opened the breaker.
    must_release: bool,
    waits: WaitLevels,
    slots: Slots,
    outer: Outer,
    last_grant: Option<MonotonicNanos>,
    last_error: Option<Reason>,
    last_check: Option<Instant>,
    /// Calls that were admitted although the phase refused them; `None` if there were none.
    shadow: Option<Box<ShadowCalls>>,
}

/// Views. The caller first advances the breaker to the `now` that it passes to a view.
impl Breaker {
    pub(crate) fn new(policy: Arc<Policy>, epoch: u64, now: Instant) -> Self {
        let rate_window = rate_window(&policy, now);
        Self {
            policy,
            has_own_policy: false,
            phase: Phase::Closed,
            forced: None,
            member: None,
            epoch,
            since: None,
            streak: Streak::default(),
            rate_window,
            failed_checks: 0,
            has_served: false,
            proven_live: false,
            must_release: false,
            waits: WaitLevels::default(),
            slots: Slots::default(),
            outer: Outer::default(),
            last_grant: None,
            last_error: None,
            last_check: None,
            shadow: None,
        }
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn seen(&self) -> Seen {
        if let Some(forced) = &self.forced {
            return Seen {
                state: forced.to.into(),
                cause: Some(Cause::Forced),
            };
        }
        let (state, cause) = match &self.phase {
            Phase::Closed => (State::Closed, None),
            Phase::Open(window) => (State::Open, Some(window.cause)),
            Phase::HalfOpen(window) => (State::HalfOpen, Some(window.cause)),
        };
        Seen { state, cause }
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.forced
            .as_ref()
            .map_or(self.since, |forced| forced.since)
    }

    /// The reason for the state that [`seen`](Self::seen) returns.
    pub(crate) fn reason(&self) -> Option<&Reason> {
        match &self.forced {
            Some(forced) => Some(&forced.reason),
            None => self.last_error.as_ref(),
        }
    }

    pub(crate) fn last_error(&self) -> Option<&Reason> {
        self.last_error.as_ref()
    }

    pub(crate) fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    pub(crate) fn shadow(&self) -> Option<ShadowCalls> {
        self.shadow.as_deref().copied()
    }

    /// Failures in a row, without those too old to count.
    pub(crate) fn consecutive_failures(&self, now: Instant) -> u32 {
        match self.phase {
            Phase::Closed if self.streak.is_over(self.policy.trip.within, now) => 0,
            _ => self.streak.failures(),
        }
    }

    /// Failed trials that still lengthen the backoff.
    pub(crate) fn failed_trials(&self, now: Instant) -> u32 {
        match self.phase {
            Phase::Closed if self.waits.is_forgiven(now) => 0,
            _ => self.waits.failed_trials(),
        }
    }

    /// Rest of the wait that the provider asked for; `None` if it asked for no wait, or the wait is over.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Duration> {
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &self.phase else {
            return None;
        };
        window
            .requested_until
            .filter(|at| *at > now)
            .map(|at| at - now)
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced.is_some()
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Returns whether the phase is half-open, forced or not.
    pub(crate) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::HalfOpen(..))
    }

    /// Returns whether every call is admitted until the next event.
    pub(crate) fn admits_freely(&self) -> bool {
        matches!(self.phase, Phase::Closed) && !self.is_forced()
    }

    /// Returns whether a success can change only the failure rate.
    pub(crate) fn success_is_noop(&self) -> bool {
        self.admits_freely() && self.proven_live && self.streak.failures() == 0 && !self.is_warned()
    }

    /// Returns whether successes count in a failure rate.
    pub(crate) fn counts_successes(&self) -> bool {
        self.rate_window.is_some()
    }

    /// The time until which successes may be counted without the lock, and [added](Self::add_counted) later. `None` if each one
    /// needs the lock, or if there is no failure rate.
    pub(crate) fn counts_without_lock_until(&self, now: Instant) -> Option<Instant> {
        let window = self
            .rate_window
            .as_ref()
            .filter(|_| self.success_is_noop())?;
        let tick_ends_at = window.next_tick_at(now);
        (!window.may_trip_by_successes(now)).then_some(tick_ends_at)
    }

    /// Returns whether eviction would lose a failure that still counts, or an override.
    pub(crate) fn is_unhealthy(&self, now: Instant) -> bool {
        let is_forced = self
            .forced
            .as_ref()
            .is_some_and(|forced| now < forced.until);
        is_forced
            || match &self.phase {
                Phase::Closed => self.consecutive_failures(now) > 0,
                Phase::Open(window) | Phase::HalfOpen(window) => {
                    now < after(window.until, HISTORY_AFTER)
                }
            }
    }

    /// Time until a call is admitted; `None` if it would be admitted now.
    pub(crate) fn retry_in(&self, now: Instant) -> Option<Duration> {
        let by_phase = self.admits_at(now).filter(|_| !self.policy.observe_only);
        let at = match self.forced.as_deref() {
            Some(Forced {
                to: Override::Open,
                until,
                ..
            }) => by_phase.max(Some(*until)),
            Some(Forced {
                to: Override::Closed,
                ..
            }) => None,
            None => by_phase,
        };
        at.filter(|at| *at > now).map(|at| at - now)
    }

    /// Returns whether failed calls or checks are the only reason for refusals, not a throttle, a requested wait or an
    /// override.
    pub(crate) fn refuses_for_failures(&self, now: Instant) -> bool {
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &self.phase else {
            return false;
        };
        let has_failed = match window.cause {
            Cause::Failures | Cause::Probe | Cause::Peer => true,
            Cause::Throttled | Cause::Forced => false,
        };
        has_failed && window.may_end(now) && !self.is_forced()
    }

    /// Returns whether calls in flight are to be released, since this was last called.
    pub(crate) fn take_release(&mut self) -> bool {
        mem::take(&mut self.must_release)
    }

    /// The end of the override, if there is one.
    pub(crate) fn lifts_at(&self) -> Option<Instant> {
        self.forced.as_ref().map(|forced| forced.until)
    }

    /// The time of the next change of state without an event: an override ends, or the breaker half-opens.
    pub(crate) fn changes_at(&self) -> Option<Instant> {
        let half_opens_at = match &self.phase {
            Phase::Open(window) => Some(window.until),
            _ => None,
        };
        self.lifts_at().into_iter().chain(half_opens_at).min()
    }

    /// The time from which the phase admits a call, whatever the override; `None` if the phase admits it at any time.
    fn admits_at(&self, now: Instant) -> Option<Instant> {
        self.admits_without_lease_at()
            .max(self.lease_decides_at(now))
    }

    /// Like [`admits_at`](Self::admits_at), without regard to the fleet's trial lease.
    fn admits_without_lease_at(&self) -> Option<Instant> {
        let trials = &self.policy.trials;
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &self.phase else {
            return None;
        };
        let is_held = trials.by_probe_only && !self.is_starting();
        let hold_ends_at = is_held.then(|| self.held_until(window));
        let half_opens_at = self.is_open().then_some(window.until);
        self.slots
            .frees_at(self.trials_at_once())
            .max(half_opens_at)
            .max(hold_ends_at)
    }

    fn trials_at_once(&self) -> usize {
        let trials = &self.policy.trials;
        let at_once = match &self.phase {
            Phase::HalfOpen(window) if self.is_starting() => {
                trials.at_once.max(window.round.successes.saturating_add(1))
            }
            _ if trials.by_probe_only => 1,
            Phase::HalfOpen(window) if window.round.granted => 1,
            _ => trials.at_once,
        };
        at_once.min(Trial::MOST_AT_ONCE) as usize
    }

    /// Returns whether the breaker is in its [slow start](crate::Trials::slow_start). Without the setting, it would be
    /// closed already.
    fn is_starting(&self) -> bool {
        let trials = &self.policy.trials;
        trials.slow_start
            && matches!(&self.phase, Phase::HalfOpen(window) if window.round.successes >= trials.to_close)
    }

    /// Returns whether failures and successes count as in a closed breaker.
    fn counts_as_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed) || self.is_starting()
    }

    /// The time until which failed checks and [`mark_unhealthy`](Self::mark_unhealthy) may keep live calls out.
    fn held_until(&self, window: &OpenWindow) -> Instant {
        after(window.began, self.policy.backoff.max_hold)
    }
}

/// Events.
impl Breaker {
    /// Makes the changes that are due at `now`. The caller must have advanced to each earlier [change](Self::changes_at).
    pub(crate) fn advance_to(&mut self, now: Instant) {
        if let Phase::Open(window) = &self.phase {
            let until = window.until;
            if now >= until {
                self.half_open(false, until);
            }
        }
        self.slots.expire(now);
        self.outer.expire(now);
        self.expire_trial_lease(now);
        self.expire_override(now);
    }

    /// Returns a ticket for the call, or the time until a call is admitted.
    pub(crate) fn admit(&mut self, layer: LayerId, now: Instant) -> Result<Ticket, Duration> {
        self.request_trial_lease(now);
        if let Some(wait) = self.retry_in(now) {
            return Err(wait);
        }
        let is_refused_by_phase = self.admits_at(now).is_some_and(|at| at > now);
        if is_refused_by_phase {
            return Ok(self.watched(Ticket::uncounted(self.epoch)));
        }
        let ticket = self.watched(Ticket::live(self.epoch));
        if !self.is_half_open() {
            return Ok(ticket);
        }
        let (trial, until) = (self.number_trial(), after(now, self.policy.trials.lease));
        let at_once = self.trials_at_once();
        Ok(match self.outer.passages(layer) {
            None => {
                self.slots.take(self.epoch, trial, until, layer);
                self.note_full();
                ticket.of_trial(trial)
            }
            Some(passages) => {
                if let Some(at) = passages.frees_at(at_once) {
                    return Err(at - now);
                }
                passages.take(self.epoch, trial, until, layer);
                ticket.of_passage(trial)
            }
        })
    }

    /// The layer of a trial that holds a slot.
    pub(crate) fn layer_of(&self, ticket: Ticket) -> Option<LayerId> {
        self.slots.layer_of(ticket)
    }

    /// Records that `layer` is an outer layer: an inner layer of the same provider refused its trial.
    pub(crate) fn note_outer(&mut self, layer: LayerId) {
        self.outer.add(layer);
    }

    /// Like [`admit`](Self::admit), but also admits a call if failures are the only reason to refuse it. The call is a trial if
    /// one can be granted, so that its success can close the breaker.
    pub(crate) fn admit_failing_open(
        &mut self,
        layer: LayerId,
        now: Instant,
    ) -> Result<Ticket, Duration> {
        let admitted = self.admit(layer, now);
        if admitted.is_ok() || !self.refuses_for_failures(now) {
            return admitted;
        }
        self.grant_trial(now);
        let as_trial = self.admit(layer, now);
        Ok(as_trial.unwrap_or_else(|_| self.watched(Ticket::uncounted(self.epoch))))
    }

    fn watched(&self, ticket: Ticket) -> Ticket {
        if self.policy.watches_calls() {
            ticket.watched()
        } else {
            ticket
        }
    }

    /// Records the outcome of a call.
    pub(crate) fn record(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> Judged {
        let judged = self.judged(OutcomeLabel::of(&outcome), ticket);
        self.slots.give_back(ticket);
        self.outer.give_back(ticket);
        let counts = ticket.is_of(self.epoch) && !self.has_passed_on(ticket);
        match outcome {
            // Counts even if it is late, because the wait concerns the future.
            Outcome::Throttled {
                retry_after,
                reason,
            } => {
                self.throttled(counts, retry_after, reason, now);
            }
            _ if !counts => {}
            Outcome::Success => self.succeeded(now),
            Outcome::Failure {
                reason,
                retry_after,
            } => self.failed(reason, retry_after, now),
            Outcome::Fatal { reason } => self.failed_fatally(reason, now),
            Outcome::Answered => self.answered(now),
            Outcome::Neutral => {}
        }
        judged
    }

    /// Successes of the current bucket are counted without the lock from now on.
    pub(crate) fn start_counting(&mut self, now: Instant) {
        if let Some(window) = &mut self.rate_window {
            window.start_counting(now);
        }
    }

    /// Adds successes that were counted without the lock.
    pub(crate) fn add_counted(&mut self, successes: u64) {
        if let Some(window) = self.rate_window.as_mut().filter(|_| successes > 0) {
            window.add(successes);
        }
    }

    /// A permit was dropped without an outcome. `started` is `None` if its answer has begun.
    pub(crate) fn dropped(
        &mut self,
        ticket: Ticket,
        started: Option<Instant>,
        now: Instant,
    ) -> Judged {
        let ran_for = started.map(|started| now.saturating_duration_since(started));
        let limit = self.policy.trip.cancelled_after;
        if ran_for
            .zip(limit)
            .is_some_and(|(ran_for, limit)| ran_for >= limit)
        {
            return self.record(ticket, Outcome::failure("cancelled"), now);
        }
        self.outer.give_back(ticket);
        let holder = self.slots.give_back(ticket);
        if let Some(holder) = holder.filter(|_| ticket.is_of(self.epoch)) {
            let pause = self.policy.trials.pause;
            self.slots.pause(holder, after(now, pause));
        }
        self.judged(OutcomeLabel::Neutral, ticket)
    }

    /// An answer has begun to arrive; its outcome is recorded later.
    pub(crate) fn answer_began(&mut self, ticket: Ticket) {
        self.slots.give_back(ticket);
        self.outer.give_back(ticket);
    }

    /// Returns whether a live call has succeeded since the last time this was called.
    pub(crate) fn take_live_proof(&mut self) -> bool {
        mem::take(&mut self.proven_live)
    }

    pub(crate) fn mark_healthy(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Closed) {
            self.close(now);
        }
        self.clear_failures();
        self.streak = Streak::default();
        self.waits = WaitLevels::default();
        self.last_error = None;
        self.last_check = Some(now);
    }

    pub(crate) fn mark_unhealthy(&mut self, reason: Reason, now: Instant) {
        match &mut self.phase {
            Phase::Closed => self.failed(reason, None, now),
            Phase::Open(window) | Phase::HalfOpen(window) => {
                if window.cause == Cause::Probe {
                    window.cause = Cause::Failures;
                }
                self.note_failure(reason, None, now);
                self.extend_open(now);
            }
        }
    }

    /// Ends an open window, or the wait for a lease, for one trial now. Returns false if it may not end now.
    pub(crate) fn grant_trial(&mut self, now: Instant) -> bool {
        let waits = self.is_open() || self.lease_decides_at(now).is_some();
        let is_granted = waits && self.half_open_early(now);
        if is_granted {
            self.waive_trial_lease();
        }
        is_granted
    }

    /// Ends an open window for one trial, which still needs the fleet's lease, if the cache is in a fleet.
    fn grant_leased_trial(&mut self, now: Instant) {
        if self.is_open() {
            self.half_open_early(now);
        }
    }

    /// Returns false if one trial now is not allowed.
    fn half_open_early(&mut self, now: Instant) -> bool {
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &self.phase else {
            return false;
        };
        let is_too_soon = self
            .last_grant
            .is_some_and(|last| MonotonicNanos::of(now).since(last) < GRANT_PAUSE);
        let is_granted = !self.is_forced()
            && !self.policy.trials.by_probe_only
            && !is_too_soon
            && window.may_end(now)
            // A trial of an earlier half-open phase may still be in flight.
            && self.slots.frees_at(1).is_none();
        if is_granted {
            self.last_grant = Some(MonotonicNanos::of(now));
            self.half_open(true, now);
        }
        is_granted
    }

    /// Sets a policy for this provider alone.
    pub(crate) fn set_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        self.has_own_policy = true;
        self.change_policy(policy, now);
    }

    /// Sets the cache's new policy, unless this provider has its own.
    pub(crate) fn follow_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        if !self.has_own_policy {
            self.change_policy(policy, now);
        }
    }

    fn change_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        match (&mut self.rate_window, policy.trip.failure_rate) {
            (Some(window), Some(rule)) if window.has_length_of(rule) => window.set_rule(rule),
            (old, _) => *old = rate_window(&policy, now),
        }
        self.policy = policy;
    }

    fn succeeded(&mut self, now: Instant) {
        self.end_streak(now);
        self.end_warning();
        self.waits.end_throttles();
        self.has_served = true;
        self.proven_live = true;
        if self.counts_as_closed() {
            self.note_good_call(now);
        }
        if self.is_half_open() {
            self.last_check = Some(now);
            self.trial_succeeded(now);
        }
    }

    /// Records an answer that concerns only the request, such as HTTP's 404.
    fn answered(&mut self, now: Instant) {
        let has_to_prove_itself = self.is_half_open() || self.streak.failures() > 0;
        if has_to_prove_itself && self.streak.answered() {
            self.succeeded(now);
        } else if self.counts_as_closed() {
            self.note_good_call(now);
        }
    }

    fn failed(&mut self, reason: Reason, retry_after: Option<Duration>, now: Instant) {
        let limit = self.policy.throttle.max_wait;
        let requested_until = retry_after.map(|wait| after(now, wait.min(limit)));
        self.note_failure(reason, requested_until, now);
        if !self.counts_as_closed() || self.should_trip(now) {
            self.open_for_failures(now);
        }
    }

    /// Like [`failed`](Self::failed), but one failure trips.
    fn failed_fatally(&mut self, reason: Reason, now: Instant) {
        self.note_failure(reason, None, now);
        self.open_for_failures(now);
    }

    fn open_for_failures(&mut self, now: Instant) {
        match &self.phase {
            Phase::Closed => self.trip(Cause::Failures, now),
            Phase::HalfOpen(..) => self.reopen(now),
            // Not reached: no call that counts is admitted while the phase is open.
            Phase::Open(_) => {}
        }
        let Policy {
            release_on_open,
            observe_only,
            ..
        } = *self.policy;
        self.must_release = release_on_open && !observe_only && !self.is_forced();
    }

    fn throttled(
        &mut self,
        counts: bool,
        retry_after: Option<Duration>,
        reason: Reason,
        now: Instant,
    ) {
        let trial_failed = match &mut self.phase {
            Phase::Open(window) => {
                let rule = &self.policy.throttle;
                let wait = self.waits.throttled_in_flight(rule, retry_after);
                let until = after(now, rule.jittered(wait, window.chance));
                window.requested_until = window.requested_until.max(Some(after(now, wait)));
                window.until = window.until.max(until);
                return;
            }
            _ if !counts => return,
            Phase::Closed => {
                self.waits.forgive(now);
                false
            }
            Phase::HalfOpen(window) => window.trial_failed,
        };
        let wait = self.waits.throttled(&self.policy.throttle, retry_after);
        self.last_error = Some(reason);
        self.last_check = Some(now);
        self.open(
            Cause::Throttled,
            trial_failed,
            Duration::ZERO,
            Some(wait),
            now,
        );
    }
}

/// Transitions.
impl Breaker {
    /// Closed → open: too many calls or checks failed.
    fn trip(&mut self, cause: Cause, now: Instant) {
        self.waits.forgive(now);
        let requested = match cause {
            Cause::Failures => self.streak.requested_wait(now),
            _ => None,
        };
        let wait = self.waits.backoff(&self.policy);
        self.open(cause, false, wait, requested, now);
    }

    /// Half-open → open: a trial failed, or too many calls of the slow start did.
    fn reopen(&mut self, now: Instant) {
        self.waits.trial_failed();
        let requested = self.streak.requested_wait(now);
        let wait = self.waits.backoff(&self.policy);
        self.open(Cause::Failures, true, wait, requested, now);
    }

    fn open(
        &mut self,
        cause: Cause,
        trial_failed: bool,
        wait: Duration,
        requested: Option<Duration>,
        now: Instant,
    ) {
        let chance = random();
        let jittered = requested.map(|wait| self.policy.throttle.jittered(wait, chance));
        let window = OpenWindow {
            cause,
            began: now,
            until: after(now, jittered.map_or(wait, |jittered| jittered.max(wait))),
            requested_until: requested.map(|wait| after(now, wait)),
            chance,
            trial_failed,
            is_restored: false,
            round: HalfOpenRound::new(false),
        };
        self.enter(Phase::Open(window.into()), now);
    }

    /// Open → open (extended), or half-open → open: a check failed, or the application marked the provider unhealthy.
    fn extend_open(&mut self, now: Instant) {
        let wait = self.waits.backoff(&self.policy);
        let (Phase::Open(window) | Phase::HalfOpen(window)) = &self.phase else {
            return;
        };
        let window = **window;
        let held = after(now, wait).min(self.held_until(&window));
        let until = window.until.max(held);
        match &mut self.phase {
            Phase::Open(window) => window.until = until,
            Phase::HalfOpen(..) if until > now => {
                let window = OpenWindow { until, ..window };
                self.enter(Phase::Open(window.into()), now);
            }
            _ => {}
        }
    }

    /// Open → half-open, at `since`.
    fn half_open(&mut self, granted: bool, since: Instant) {
        if let Phase::Open(window) = &self.phase {
            let mut window = window.clone();
            window.round = HalfOpenRound::new(granted);
            self.enter(Phase::HalfOpen(window), since);
        }
    }

    /// Open or half-open → closed, once enough trials have succeeded. With `slow_start`, the start begins instead.
    fn trial_succeeded(&mut self, now: Instant) {
        self.half_open(false, now);
        let (was_starting, has_room) = (self.is_starting(), self.has_room());
        let trials = &self.policy.trials;
        let Phase::HalfOpen(window) = &mut self.phase else {
            return;
        };
        let round = &mut window.round;
        round.successes = round.successes.saturating_add(1);
        if round.successes < trials.to_close {
            return;
        }
        let has_room = has_room && round.successes > round.full_until;
        if !trials.slow_start
            || was_starting && (has_room || round.successes >= MAX_START_SUCCESSES)
        {
            self.close(now);
        } else if !was_starting {
            self.clear_failures();
            self.must_sync();
        }
    }

    /// Returns whether half of the slots are free. The call that succeeded has given its slot back already, so it is added.
    fn has_room(&self) -> bool {
        2 * (self.slots.in_use() + 1) <= self.trials_at_once()
    }

    /// Notes whether all slots are in use: calls that end together leave slots free for a moment only.
    fn note_full(&mut self) {
        let (in_use, at_once) = (self.slots.in_use(), self.trials_at_once());
        if let Phase::HalfOpen(window) = &mut self.phase {
            if in_use >= at_once {
                let in_use = u32::try_from(in_use).unwrap_or(u32::MAX);
                window.round.full_until = window.round.successes.saturating_add(in_use);
            }
        }
    }

    /// Open or half-open → closed.
    fn close(&mut self, now: Instant) {
        if let Phase::Open(window) | Phase::HalfOpen(window) = &self.phase {
            let as_long_again = window.until - window.began;
            self.waits.forgive_at(after(now, as_long_again));
        }
        self.clear_failures();
        self.enter(Phase::Closed, now);
    }

    fn enter(&mut self, phase: Phase, since: Instant) {
        self.phase = phase;
        self.slots.end_pauses();
        self.streak.end_answers();
        self.phase_changed();
        self.epoch += 1;
        self.since = Some(since);
    }
}

/// Steps that several events share.
impl Breaker {
    /// Clears the failures of live calls and of checks that count towards a trip.
    fn clear_failures(&mut self) {
        self.streak.end();
        self.failed_checks = 0;
        if let Some(window) = &mut self.rate_window {
            window.reset();
        }
    }

    /// Ends the streak after a success. A streak that ended without a trip is a blip.
    fn end_streak(&mut self, now: Instant) {
        if self.counts_as_closed() && self.consecutive_failures(now) > 0 {
            self.streak.note_blip(now);
        }
        self.streak.end();
    }

    /// Counts a call that did not fail, of a breaker that [counts as closed](Self::counts_as_closed). The call can trip it, by
    /// reaching the failure rate's minimum number of calls.
    fn note_good_call(&mut self, now: Instant) {
        if let Some(window) = &mut self.rate_window {
            window.record(false, now);
            if window.should_trip(now) {
                self.open_for_failures(now);
            }
        }
    }

    fn note_failure(&mut self, reason: Reason, requested_until: Option<Instant>, now: Instant) {
        if self.consecutive_failures(now) == 0 {
            self.streak.end();
        }
        self.streak.failed(requested_until, now);
        self.waits.end_throttles();
        self.last_error = Some(reason);
        self.last_check = Some(now);
        if self.counts_as_closed() {
            if let Some(window) = &mut self.rate_window {
                window.record(true, now);
            }
        }
    }

    fn should_trip(&self, now: Instant) -> bool {
        self.streak.trips(&self.policy.trip, now)
            || self
                .rate_window
                .as_ref()
                .is_some_and(|window| window.should_trip(now))
    }

    /// Returns a number that no trial in flight has. The breaker is half-open.
    fn number_trial(&mut self) -> Trial {
        let Phase::HalfOpen(window) = &mut self.phase else {
            return Trial::FIRST;
        };
        let mut trial = window.round.next_trial;
        while self.slots.has(self.epoch, trial) || self.outer.has(self.epoch, trial) {
            trial = trial.next();
        }
        window.round.next_trial = trial.next();
        trial
    }

    /// Returns whether the ticket is a passage, and the inner layer has taken a trial since, which then decides.
    fn has_passed_on(&self, ticket: Ticket) -> bool {
        matches!(&self.phase, Phase::HalfOpen(window) if ticket.is_passage_before(window.round.next_trial))
    }
}

fn rate_window(policy: &Policy, now: Instant) -> Option<Box<RateWindow>> {
    let rule = policy.trip.failure_rate?;
    Some(Box::new(RateWindow::new(rule, now)))
}
