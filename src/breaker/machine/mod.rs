//! The state machine of one provider: one method an event, one method a transition.
//!
//! Nothing here knows of locks, clocks or listeners: `now` is passed in, and whoever calls compares
//! what is [`seen`](Breaker::seen) before and after. Every public method but the views expects the
//! breaker to be [settled](Breaker::advance_to) at the same `now`.

mod check;
mod layer_id;
mod outer;
mod rate_window;
mod restore;
mod slots;
mod streak;

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

pub(crate) use self::layer_id::LayerId;
use self::{outer::Outer, rate_window::RateWindow, slots::Slots, streak::Streak};
use super::ticket::{Ticket, Trial};
use crate::{
    outcome::{Judged, Outcome, OutcomeLabel, Reason},
    policy::Policy,
    util::time::{MonotonicNanos, after, random},
    view::{Cause, Override, State},
};

/// At most one trial per provider is granted out of turn in this time.
const GRANT_PAUSE: Duration = Duration::from_secs(1);

/// An open window that ended so long ago, with nobody having tried the provider since, is history.
const HISTORY_AFTER: Duration = Duration::from_secs(60 * 60);

/// What a check proves by succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Reachability,
    Functional,
}

/// State and cause, as every view shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    policy: Arc<Policy>,
    /// It was given rules of its own, and no longer follows the cache's.
    has_own_policy: bool,
    phase: Phase,
    forced: Option<Box<Forced>>,
    epoch: u64,
    since: Option<Instant>,
    streak: Streak,
    window: Option<Box<RateWindow>>,
    /// Failed checks in a row, while closed.
    failed_checks: u32,
    /// A live call has succeeded, ever, and since the last check.
    has_served: bool,
    proven_live: bool,
    /// Trials that failed, as the backoff counts them.
    level: u32,
    /// Throttles in a row that named no time.
    unnamed_throttles: u32,
    /// When the backoff starts anew, if nothing happens until then.
    forgiven_at: Option<Instant>,
    slots: Slots,
    outer: Outer,
    next_trial: Trial,
    last_grant: Option<MonotonicNanos>,
    last_error: Option<Reason>,
    last_check: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Closed,
    // In a box, because most providers are closed, and there may be many of them.
    Open(Box<OpenWindow>),
    HalfOpen(Box<OpenWindow>, HalfOpenRound),
}

/// One half-open time.
#[derive(Debug)]
struct HalfOpenRound {
    /// It began before its time, for one trial only.
    granted: bool,
    successes: u32,
}

#[derive(Clone, Copy, Debug)]
struct OpenWindow {
    cause: Cause,
    /// When the trip, or the last failed trial, opened it: no probe lengthens it without limit.
    began: Instant,
    until: Instant,
    /// What the provider itself asked for: nothing ends the wait before it.
    requested_until: Option<Instant>,
    /// A trial has failed in this outage, so a shallow check proves nothing.
    trial_failed: bool,
}

#[derive(Debug)]
struct Forced {
    to: Override,
    since: Option<Instant>,
    until: Instant,
    reason: Reason,
}

/// Views. Those that depend on time expect a settled breaker.
impl Breaker {
    pub(crate) fn new(policy: Arc<Policy>, epoch: u64, now: Instant) -> Self {
        let window = window(&policy, now);
        Self {
            policy,
            has_own_policy: false,
            phase: Phase::Closed,
            forced: None,
            epoch,
            since: None,
            streak: Streak::default(),
            window,
            failed_checks: 0,
            has_served: false,
            proven_live: false,
            level: 0,
            unnamed_throttles: 0,
            forgiven_at: None,
            slots: Slots::default(),
            outer: Outer::default(),
            next_trial: Trial::FIRST,
            last_grant: None,
            last_error: None,
            last_check: None,
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
            Phase::HalfOpen(window, _) => (State::HalfOpen, Some(window.cause)),
        };
        Seen { state, cause }
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.forced
            .as_ref()
            .map_or(self.since, |forced| forced.since)
    }

    /// Why the breaker is in the state that is seen.
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

    /// Failures in a row; those that are too old to count are not shown either.
    pub(crate) fn consecutive_failures(&self, now: Instant) -> u32 {
        match self.phase {
            Phase::Closed if self.streak.is_over(self.policy.trip.within, now) => 0,
            _ => self.streak.failures(),
        }
    }

    /// Trials that failed; those that are forgiven are not shown either.
    pub(crate) fn failed_trials(&self, now: Instant) -> u32 {
        match self.phase {
            Phase::Closed if self.is_forgiven(now) => 0,
            _ => self.level,
        }
    }

    /// How long until the time that the provider itself named, where it is still to come.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Duration> {
        let (Phase::Open(window) | Phase::HalfOpen(window, _)) = &self.phase else {
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

    /// Whether it is half-open, forced or not.
    pub(crate) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::HalfOpen(..))
    }

    /// Every call is admitted, whatever the time.
    pub(crate) fn admits_freely(&self) -> bool {
        matches!(self.phase, Phase::Closed) && !self.is_forced()
    }

    /// A success changes nothing but a failure rate, however long it took.
    pub(crate) fn success_is_noop(&self) -> bool {
        self.admits_freely()
            && self.proven_live
            && self.streak.failures() == 0
            && self.policy.trip.slow_call.is_none()
    }

    /// Whether successes change a failure rate.
    pub(crate) fn counts_successes(&self) -> bool {
        self.window.is_some()
    }

    /// Until when it is enough to count successes, and to say later [how many](Self::tallied) there
    /// were; `None`: each must be recorded, or none.
    pub(crate) fn tallies_until(&self, now: Instant) -> Option<Instant> {
        let window = self.window.as_ref().filter(|_| self.success_is_noop())?;
        let tick_ends_at = window.next_tick_at(now);
        (!window.may_trip_by_successes(now)).then_some(tick_ends_at)
    }

    /// Something that is not yet history speaks against the provider, or an operator has spoken.
    pub(crate) fn is_unhealthy(&self, now: Instant) -> bool {
        let is_forced = self
            .forced
            .as_ref()
            .is_some_and(|forced| now < forced.until);
        is_forced
            || match &self.phase {
                Phase::Closed => self.consecutive_failures(now) > 0,
                Phase::Open(window) | Phase::HalfOpen(window, _) => {
                    now < after(window.until, HISTORY_AFTER)
                }
            }
    }

    /// How long until a call is admitted; `None`: it would be now.
    pub(crate) fn retry_in(&self, now: Instant) -> Option<Duration> {
        let beneath = self.admits_at().filter(|_| !self.policy.observe_only);
        let at = match self.forced.as_deref() {
            Some(Forced {
                to: Override::Open,
                until,
                ..
            }) => beneath.max(Some(*until)),
            Some(Forced {
                to: Override::Closed,
                ..
            }) => None,
            None => beneath,
        };
        at.filter(|at| *at > now).map(|at| at - now)
    }

    /// Whether nothing but failures, of calls or of checks, keeps calls out.
    pub(crate) fn refuses_for_failures(&self, now: Instant) -> bool {
        let (Phase::Open(window) | Phase::HalfOpen(window, _)) = &self.phase else {
            return false;
        };
        let has_failed = match window.cause {
            Cause::Failures | Cause::Probe => true,
            Cause::Throttled | Cause::Forced => false,
        };
        has_failed && window.may_end(now) && !self.is_forced()
    }

    /// When the override ends, if there is one.
    pub(crate) fn lifts_at(&self) -> Option<Instant> {
        self.forced.as_ref().map(|forced| forced.until)
    }

    /// When the state changes by the passing of time alone.
    pub(crate) fn changes_at(&self) -> Option<Instant> {
        let half_opens_at = match &self.phase {
            Phase::Open(window) => Some(window.until),
            _ => None,
        };
        self.lifts_at().into_iter().chain(half_opens_at).min()
    }

    /// When the state machine admits a call, forced or not; `None`: whenever it comes.
    fn admits_at(&self) -> Option<Instant> {
        let trials = &self.policy.trials;
        let (Phase::Open(window) | Phase::HalfOpen(window, _)) = &self.phase else {
            return None;
        };
        let no_prison = trials.by_probe_only.then(|| self.held_until(window));
        let half_opens_at = self.is_open().then_some(window.until);
        self.slots
            .frees_at(self.trials_at_once())
            .max(half_opens_at)
            .max(no_prison)
    }

    fn trials_at_once(&self) -> usize {
        let trials = &self.policy.trials;
        let is_granted = matches!(&self.phase, Phase::HalfOpen(_, round) if round.granted);
        let at_once = if trials.by_probe_only || is_granted {
            1
        } else {
            trials.at_once
        };
        at_once.min(Trial::MOST_AT_ONCE) as usize
    }

    /// The end of the time in which anything but live calls may put off a trial.
    fn held_until(&self, window: &OpenWindow) -> Instant {
        after(window.began, self.policy.backoff.max_hold)
    }
}

/// Events.
impl Breaker {
    /// Does what the passing of time alone does; what [was due](Self::changes_at) earlier is settled by then.
    pub(crate) fn advance_to(&mut self, now: Instant) {
        if let Phase::Open(window) = &self.phase {
            let until = window.until;
            if now >= until {
                self.half_open(false, until);
            }
        }
        self.slots.expire(now);
        self.outer.expire(now);
        if let Some(forced) = self.forced.take_if(|forced| now >= forced.until) {
            self.lift(&forced, forced.until);
        }
    }

    /// The ticket of a call that is made, or how long until one would be.
    pub(crate) fn admit(&mut self, layer: LayerId, now: Instant) -> Result<Ticket, Duration> {
        if let Some(wait) = self.retry_in(now) {
            return Err(wait);
        }
        let is_refused_beneath = self.admits_at().is_some_and(|at| at > now);
        if is_refused_beneath {
            return Ok(Ticket::uncounted(self.epoch));
        }
        let mut ticket = Ticket::live(self.epoch);
        if self.policy.trip.is_timed() {
            ticket = ticket.started(now);
        }
        if !self.is_half_open() {
            return Ok(ticket);
        }
        let (trial, until) = (self.number_trial(), after(now, self.policy.trials.lease));
        let at_once = self.trials_at_once();
        Ok(match self.outer.passages(layer) {
            None => {
                self.slots.take(self.epoch, trial, until, layer);
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

    /// Which layer asked for a trial that has its slot.
    pub(crate) fn layer_of(&self, ticket: Ticket) -> Option<LayerId> {
        self.slots.layer_of(ticket)
    }

    /// A trial of this layer was refused by this breaker: there is another layer beneath.
    pub(crate) fn stand_back(&mut self, layer: LayerId) {
        self.outer.add(layer);
    }

    /// As [`admit`](Self::admit), of a call that is made although the breaker refuses for failures: a trial where one may be
    /// granted, so that its result can bring the provider back.
    pub(crate) fn admit_overridden(
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
        Ok(as_trial.unwrap_or_else(|_| Ticket::uncounted(self.epoch)))
    }

    /// A call has ended, or its permit was told so.
    pub(crate) fn record(&mut self, ticket: Ticket, outcome: Outcome, now: Instant) -> Judged {
        let is_slow = ticket.was_slow(self.policy.trip.slow_call, now);
        let verdict = OutcomeLabel::of(&outcome, is_slow);
        let judged = Judged::new(verdict, ticket, self.epoch);
        self.slots.give_back(ticket);
        self.outer.give_back(ticket);
        // The trial that the layer beneath has taken decides, if it has taken one.
        let counts = ticket.is_of(self.epoch) && !ticket.is_passage_before(self.next_trial);
        match outcome {
            // The one verdict that is never late: the provider spoke of its future.
            Outcome::Throttled {
                retry_after,
                reason,
            } => {
                self.throttled(counts, retry_after, reason, now);
            }
            _ if !counts => {}
            Outcome::Success if is_slow => self.failed("slow call".into(), None, now),
            Outcome::Success => self.succeeded(now),
            Outcome::Failure {
                reason,
                retry_after,
            } => self.failed(reason, retry_after, now),
            Outcome::Fatal { reason } => self.failed_for_good(reason, now),
            Outcome::Answered => self.answered(now),
            Outcome::Neutral => {}
        }
        judged
    }

    /// From now on successes are counted elsewhere.
    pub(crate) fn tally(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            window.tally(now);
        }
    }

    /// So many calls have succeeded, as was counted elsewhere.
    pub(crate) fn tallied(&mut self, successes: u64) {
        if let Some(window) = self.window.as_mut().filter(|_| successes > 0) {
            window.add(successes);
        }
    }

    /// A permit was dropped without a verdict.
    pub(crate) fn dropped(&mut self, ticket: Ticket, now: Instant) -> Judged {
        if !ticket.has_answer() && ticket.has_run_for(self.policy.trip.cancelled_after, now) {
            return self.record(ticket, Outcome::failure("cancelled"), now);
        }
        self.outer.give_back(ticket);
        let holder = self.slots.give_back(ticket);
        if let Some(holder) = holder.filter(|_| ticket.is_of(self.epoch)) {
            let pause = self.policy.trials.pause;
            self.slots.pause(holder, after(now, pause));
        }
        Judged::new(OutcomeLabel::Neutral, ticket, self.epoch)
    }

    /// An answer has begun to come; its verdict is still to come.
    pub(crate) fn answer_began(&mut self, ticket: &mut Ticket, now: Instant) {
        ticket.answer_began(self.policy.trip.slow_call, now);
        self.slots.give_back(*ticket);
        self.outer.give_back(*ticket);
    }

    /// Whether a live call has succeeded since this was last asked.
    pub(crate) fn take_live_proof(&mut self) -> bool {
        mem::take(&mut self.proven_live)
    }

    /// A check that started in `epoch` has ended.
    pub(crate) fn checked(
        &mut self,
        epoch: u64,
        depth: Depth,
        result: Result<(), Reason>,
        now: Instant,
    ) {
        self.last_check = Some(now);
        if !self.is_of_this_turn(epoch) {
            return;
        }
        let proven_live = self.take_live_proof();
        let passed = result.is_ok();
        if let Err(reason) = result {
            self.last_error = Some(reason);
        }
        match &self.phase {
            Phase::Closed if passed || proven_live => self.failed_checks = 0,
            Phase::Closed => {
                self.failed_checks = self.failed_checks.saturating_add(1);
                if self.failed_checks >= self.policy.trip.failed_checks() {
                    self.trip(Cause::Probe, now);
                }
            }
            // The trial decides.
            Phase::HalfOpen(..) if !passed && self.slots.has_trial_of(self.epoch) => {}
            _ if !passed => self.extend_open(now),
            Phase::Open(window) | Phase::HalfOpen(window, _) => match depth {
                _ if !window.may_end(now) => {}
                Depth::Functional => self.trial_succeeded(now),
                // Not even what a probe opened.
                Depth::Reachability if self.policy.trials.by_probe_only => {}
                Depth::Reachability if window.cause == Cause::Probe => self.trial_succeeded(now),
                Depth::Reachability if window.trial_failed => {}
                Depth::Reachability => {
                    self.grant_trial(now);
                }
            },
        }
    }

    pub(crate) fn mark_healthy(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Closed) {
            self.close(now);
        }
        self.forget();
        self.streak = Streak::default();
        self.level = 0;
        self.unnamed_throttles = 0;
        self.forgiven_at = None;
        self.last_error = None;
        self.last_check = Some(now);
    }

    pub(crate) fn mark_unhealthy(&mut self, reason: Reason, now: Instant) {
        match &mut self.phase {
            Phase::Closed => self.failed(reason, None, now),
            Phase::Open(window) | Phase::HalfOpen(window, _) => {
                if window.cause == Cause::Probe {
                    window.cause = Cause::Failures;
                }
                self.note_failure(reason, None, now);
                self.extend_open(now);
            }
        }
    }

    /// Ends an open window's wait for one trial; false where it may not end.
    pub(crate) fn grant_trial(&mut self, now: Instant) -> bool {
        let Phase::Open(window) = &self.phase else {
            return false;
        };
        let is_too_soon = self
            .last_grant
            .is_some_and(|last| MonotonicNanos::of(now).since(last) < GRANT_PAUSE);
        let is_granted = !self.is_forced()
            && !self.policy.trials.by_probe_only
            && !is_too_soon
            && window.may_end(now)
            // One of an earlier half-open time may still be in flight.
            && self.slots.frees_at(1).is_none();
        if is_granted {
            self.last_grant = Some(MonotonicNanos::of(now));
            self.half_open(true, now);
        }
        is_granted
    }

    pub(crate) fn force(&mut self, to: Override, ttl: Duration, reason: Reason, now: Instant) {
        let is_there_already = self.seen().state == State::from(to);
        let since = if is_there_already {
            self.since()
        } else {
            Some(now)
        };
        self.forced = Some(Box::new(Forced {
            to,
            since,
            until: after(now, ttl),
            reason,
        }));
    }

    pub(crate) fn unforce(&mut self, now: Instant) {
        if let Some(forced) = self.forced.take() {
            self.lift(&forced, now);
        }
    }

    /// Gives it rules of its own.
    pub(crate) fn set_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        self.has_own_policy = true;
        self.change_policy(policy, now);
    }

    /// Gives it the cache's new rules, unless it has rules of its own.
    pub(crate) fn follow_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        if !self.has_own_policy {
            self.change_policy(policy, now);
        }
    }

    fn change_policy(&mut self, policy: Arc<Policy>, now: Instant) {
        match (&mut self.window, policy.trip.failure_rate) {
            (Some(window), Some(rule)) if window.has_length_of(rule) => window.set_rule(rule),
            (old, _) => *old = window(&policy, now),
        }
        self.policy = policy;
    }

    fn succeeded(&mut self, now: Instant) {
        self.end_streak(now);
        self.unnamed_throttles = 0;
        self.has_served = true;
        self.proven_live = true;
        match &self.phase {
            Phase::Closed => self.note_good_call(now),
            Phase::HalfOpen(..) => {
                self.last_check = Some(now);
                self.trial_succeeded(now);
            }
            // No ticket is of an open window's epoch.
            Phase::Open(_) => {}
        }
    }

    /// The provider is up, but its answer was about the request.
    fn answered(&mut self, now: Instant) {
        let has_to_prove_itself = self.is_half_open() || self.streak.failures() > 0;
        if has_to_prove_itself && self.streak.answered() {
            self.succeeded(now);
        } else if let Phase::Closed = self.phase {
            self.note_good_call(now);
        }
    }

    fn failed(&mut self, reason: Reason, retry_after: Option<Duration>, now: Instant) {
        let limit = self.policy.throttle.max_wait;
        let requested_until = retry_after.map(|wait| after(now, wait.min(limit)));
        self.note_failure(reason, requested_until, now);
        match &self.phase {
            Phase::Closed => {
                if self.should_trip(now) {
                    self.trip(Cause::Failures, now);
                }
            }
            Phase::HalfOpen(..) => self.reopen(now),
            // No ticket is of an open window's epoch.
            Phase::Open(_) => {}
        }
    }

    /// As [`failed`](Self::failed), where one is too many.
    fn failed_for_good(&mut self, reason: Reason, now: Instant) {
        self.failed(reason, None, now);
        if let Phase::Closed = self.phase {
            self.trip(Cause::Failures, now);
        }
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
                // Of the calls that were under way, none makes the row longer.
                let in_a_row = self.unnamed_throttles.saturating_sub(1);
                let requested_until = after(now, self.policy.throttle.wait(retry_after, in_a_row));
                window.requested_until = window.requested_until.max(Some(requested_until));
                window.until = window.until.max(requested_until);
                return;
            }
            _ if !counts => return,
            Phase::Closed => {
                self.forgive(now);
                false
            }
            Phase::HalfOpen(window, _) => window.trial_failed,
        };
        let wait = self
            .policy
            .throttle
            .wait(retry_after, self.unnamed_throttles);
        self.unnamed_throttles = match retry_after {
            Some(_) => 0,
            None => self.unnamed_throttles.saturating_add(1),
        };
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
    /// Closed → open: there was too much of it.
    fn trip(&mut self, cause: Cause, now: Instant) {
        self.forgive(now);
        let requested_until = match cause {
            Cause::Failures => self.streak.requested_wait(now),
            _ => None,
        };
        self.open(cause, false, self.backoff(), requested_until, now);
    }

    /// Half-open → open: a trial failed.
    fn reopen(&mut self, now: Instant) {
        self.level = self.level.saturating_add(1);
        let requested_until = self.streak.requested_wait(now);
        self.open(Cause::Failures, true, self.backoff(), requested_until, now);
    }

    fn open(
        &mut self,
        cause: Cause,
        trial_failed: bool,
        wait: Duration,
        requested_until: Option<Duration>,
        now: Instant,
    ) {
        let requested_until = requested_until.map(|wait| after(now, wait));
        let backed_off = after(now, wait);
        let window = OpenWindow {
            cause,
            began: now,
            until: requested_until.map_or(backed_off, |requested_until| {
                requested_until.max(backed_off)
            }),
            requested_until,
            trial_failed,
        };
        self.enter(Phase::Open(window.into()), now);
    }

    /// Open → open, later; half-open → open again: somebody else than a trial says that it is ill.
    fn extend_open(&mut self, now: Instant) {
        let wait = self.backoff();
        let (Phase::Open(window) | Phase::HalfOpen(window, _)) = &self.phase else {
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

    /// Open → half-open, from `since` on.
    fn half_open(&mut self, granted: bool, since: Instant) {
        if let Phase::Open(window) = &self.phase {
            let window = window.clone();
            self.enter(Phase::HalfOpen(window, HalfOpenRound::new(granted)), since);
        }
    }

    /// Open or half-open → closed, where this was the last success that it took.
    fn trial_succeeded(&mut self, now: Instant) {
        self.half_open(false, now);
        if let Phase::HalfOpen(_, round) = &mut self.phase {
            round.successes += 1;
            if round.successes >= self.policy.trials.to_close {
                self.close(now);
            }
        }
    }

    /// Open or half-open → closed.
    fn close(&mut self, now: Instant) {
        if let Phase::Open(window) | Phase::HalfOpen(window, _) = &self.phase {
            let as_long_again = window.until - window.began;
            self.forgiven_at = Some(after(now, as_long_again));
        }
        self.forget();
        self.enter(Phase::Closed, now);
    }

    /// Forced → what is beneath.
    fn lift(&mut self, forced: &Forced, at: Instant) {
        let was_there_already = self.seen().state == State::from(forced.to);
        self.since = if was_there_already {
            forced.since
        } else {
            Some(at)
        };
    }

    fn enter(&mut self, phase: Phase, since: Instant) {
        self.phase = phase;
        self.slots.end_pauses();
        self.streak.end_answers();
        self.epoch += 1;
        self.since = Some(since);
    }
}

/// Parts.
impl Breaker {
    /// What spoke against the provider while it was closed.
    fn forget(&mut self) {
        self.streak.end();
        self.failed_checks = 0;
        if let Some(window) = &mut self.window {
            window.reset();
        }
    }

    /// Nothing came of it, if it was still one.
    fn end_streak(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closed) && self.consecutive_failures(now) > 0 {
            self.streak.note_blip(now);
        }
        self.streak.end();
    }

    /// While closed. A rate judges it too: it may be the call that makes them enough.
    fn note_good_call(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            window.record(false, now);
            if window.should_trip(now) {
                self.trip(Cause::Failures, now);
            }
        }
    }

    fn note_failure(&mut self, reason: Reason, requested_until: Option<Instant>, now: Instant) {
        if self.consecutive_failures(now) == 0 {
            self.streak.end();
        }
        self.streak.failed(requested_until, now);
        self.unnamed_throttles = 0;
        self.last_error = Some(reason);
        self.last_check = Some(now);
        if let (Phase::Closed, Some(window)) = (&self.phase, &mut self.window) {
            window.record(true, now);
        }
    }

    fn should_trip(&self, now: Instant) -> bool {
        self.streak.trips(&self.policy.trip, now)
            || self
                .window
                .as_ref()
                .is_some_and(|window| window.should_trip(now))
    }

    /// Starts the backoff anew, where the provider has been closed for long enough.
    fn forgive(&mut self, now: Instant) {
        if self.is_forgiven(now) {
            self.level = 0;
        }
    }

    fn is_forgiven(&self, now: Instant) -> bool {
        self.forgiven_at.is_some_and(|at| now >= at)
    }

    fn backoff(&self) -> Duration {
        self.policy.backoff.wait(self.level, random())
    }

    /// A number that no trial in flight has.
    fn number_trial(&mut self) -> Trial {
        let mut trial = self.next_trial;
        while self.slots.has(self.epoch, trial) || self.outer.has(self.epoch, trial) {
            trial = trial.next();
        }
        self.next_trial = trial.next();
        trial
    }

    /// Whether what began in `epoch` speaks of the present: the end of an open window by time alone
    /// makes nothing stale.
    fn is_of_this_turn(&self, epoch: u64) -> bool {
        epoch == self.epoch || (self.is_half_open() && epoch + 1 == self.epoch)
    }
}

impl Judged {
    fn new(verdict: OutcomeLabel, ticket: Ticket, epoch: u64) -> Self {
        Self {
            outcome: verdict,
            is_trial: ticket.is_trial(),
            // What moves nothing at any time is never late.
            is_late: verdict != OutcomeLabel::Neutral && ticket.is_from_before(epoch),
        }
    }
}

impl OutcomeLabel {
    fn of(outcome: &Outcome, is_slow: bool) -> Self {
        match outcome {
            Outcome::Success if is_slow => Self::Failure,
            Outcome::Success => Self::Success,
            Outcome::Failure { .. } | Outcome::Fatal { .. } => Self::Failure,
            Outcome::Throttled { .. } => Self::Throttled,
            Outcome::Answered => Self::Answered,
            Outcome::Neutral => Self::Neutral,
        }
    }
}

impl HalfOpenRound {
    fn new(granted: bool) -> Self {
        Self {
            granted,
            successes: 0,
        }
    }
}

impl OpenWindow {
    /// Whether the provider itself asked for no more time.
    fn may_end(&self, now: Instant) -> bool {
        self.requested_until
            .is_none_or(|requested_until| now >= requested_until)
    }
}

fn window(policy: &Policy, now: Instant) -> Option<Box<RateWindow>> {
    let rule = policy.trip.failure_rate?;
    Some(Box::new(RateWindow::new(rule, now)))
}
