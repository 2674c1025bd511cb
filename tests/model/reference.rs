//! The breaker of section 3 of the design, as simple as possible: it keeps every call, and computes every answer anew.
//! Times are durations since the start.

#![allow(clippy::unchecked_time_subtraction, reason = "time runs forwards")]

use std::{mem, time::Duration};

use tower_health::{Cause, Outcome, Override, Reason, State};

use super::rules::{Rate, Rules};

/// The furthest deadline.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// The shortest time between two grants.
const GRANT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Model {
    rules: Rules,
    now: Duration,
    beneath: Beneath,
    forced: Option<Forced>,
    /// Incremented with every change of state, except when a window ends: no older call is in flight then.
    turn: u64,
    calls: usize,
    /// The taken slots. Each stays until its trial is over, even when the state changes.
    slots: Vec<Slot>,
    /// The number of failures in a row, and the time of the last.
    streak: (u32, Duration),
    /// The furthest time that a failure of the streak named.
    requested: Duration,
    /// The number of `Answered` outcomes in a row.
    answers: u32,
    /// The times at which a success ended a streak before it tripped.
    blips: Vec<Duration>,
    /// The end of each call, and whether it failed.
    ended: Vec<(Duration, bool)>,
    /// The time from which tenths of the window are counted.
    rated_since: Duration,
    failed_checks: u32,
    has_succeeded_since_check: bool,
    level: u32,
    /// The number of throttles in a row without a named time.
    unnamed: u32,
    /// The current open window, or the last one.
    window: Window,
    closed_at: Duration,
    granted_at: Option<Duration>,
    last_error: Option<Reason>,
    last_check: Option<Duration>,
    /// The state and cause seen last, and the time of the last transition.
    seen: (State, Option<Cause>, Option<Duration>),
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Beneath {
    Closed,
    Open,
    HalfOpen(Round),
}

#[derive(Debug, Default)]
struct Window {
    cause: Option<Cause>,
    began: Duration,
    until: Duration,
    /// The time that the provider named; nothing ends the window earlier.
    named: Duration,
    /// Whether a trial has failed in this outage.
    is_disproved: bool,
}

#[derive(Debug, Default)]
struct Round {
    /// Whether a grant started it before the end of the window.
    is_granted: bool,
    successes: u32,
    /// The number of successes that a slow start must exceed since its slots were last full.
    full_until: u32,
}

/// A taken slot.
#[derive(Debug)]
struct Slot {
    /// `None` during the pause after a dropped trial.
    call: Option<usize>,
    turn: u64,
    until: Duration,
}

#[derive(Debug)]
struct Forced {
    to: Override,
    until: Duration,
    reason: Reason,
}

/// The health that every view shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    pub(crate) state: State,
    pub(crate) healthy: bool,
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<Reason>,
    pub(crate) consecutive_failures: u32,
    pub(crate) failed_trials: u32,
    pub(crate) last_error: Option<Reason>,
    pub(crate) last_check: Option<Duration>,
    pub(crate) since: Option<Duration>,
    pub(crate) retry_in: Option<Duration>,
    pub(crate) not_before: Option<Duration>,
    pub(crate) forced_for: Option<Duration>,
}

/// A transition to announce.
#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<Reason>,
    pub(crate) at: Duration,
}

/// The model of a permit.
#[derive(Debug)]
pub(crate) struct Call {
    id: usize,
    /// `None` if the call was let past a breaker that would have refused it.
    turn: Option<u64>,
    pub(crate) is_trial: bool,
    /// `None` if no rule times the call, or its answer has begun.
    began: Option<Duration>,
    /// The longest time that the call may take.
    limit: Option<Duration>,
}

/// A check in flight.
#[derive(Debug)]
pub(crate) struct Check {
    is_functional: bool,
    turn: u64,
}

fn slow(limit: Duration) -> Outcome {
    Outcome::failure(Reason::labelled(
        "slow",
        format_args!("no answer within {limit:?}"),
    ))
}

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: Duration::ZERO,
            beneath: Beneath::Closed,
            forced: None,
            turn: 0,
            calls: 0,
            slots: Vec::new(),
            streak: (0, Duration::ZERO),
            requested: Duration::ZERO,
            answers: 0,
            blips: Vec::new(),
            ended: Vec::new(),
            rated_since: Duration::ZERO,
            failed_checks: 0,
            has_succeeded_since_check: false,
            level: 0,
            unnamed: 0,
            window: Window::default(),
            closed_at: Duration::ZERO,
            granted_at: None,
            last_error: None,
            last_check: None,
            seen: (State::Closed, None, None),
            changes: Vec::new(),
        }
    }

    fn after(&self, wait: Duration) -> Duration {
        self.now + wait.min(FAR)
    }
}

/// Views.
impl Model {
    pub(crate) fn health(&self) -> Health {
        let (state, cause) = self.state();
        let retry_in = self.retry_in();
        Health {
            state,
            healthy: retry_in.is_none(),
            cause,
            reason: self.reason(),
            consecutive_failures: self.consecutive_failures(),
            failed_trials: if self.is_lived_down() { 0 } else { self.level },
            last_error: self.last_error.clone(),
            last_check: self.last_check,
            since: self.seen.2,
            retry_in,
            not_before: self.not_before(),
            forced_for: self.forced.as_ref().map(|forced| forced.until - self.now),
        }
    }

    /// Returns the changes since the last call of this method.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        mem::take(&mut self.changes)
    }

    fn state(&self) -> (State, Option<Cause>) {
        match (&self.forced, &self.beneath) {
            (Some(forced), _) => (forced.to.into(), Some(Cause::Forced)),
            (None, Beneath::Closed) => (State::Closed, None),
            (None, Beneath::Open) => (State::Open, self.window.cause),
            (None, Beneath::HalfOpen(_)) => (State::HalfOpen, self.window.cause),
        }
    }

    fn reason(&self) -> Option<Reason> {
        match &self.forced {
            Some(forced) => Some(forced.reason.clone()),
            None => self.last_error.clone(),
        }
    }

    fn not_before(&self) -> Option<Duration> {
        let is_named = !matches!(self.beneath, Beneath::Closed) && self.now < self.window.named;
        is_named.then(|| self.window.named - self.now)
    }

    /// Returns the time until a call is admitted, or `None` if one is admitted now.
    pub(crate) fn retry_in(&self) -> Option<Duration> {
        let mut times = vec![self.now, self.window.until, self.prison_end()];
        times.extend(self.forced.iter().map(|forced| forced.until));
        times.extend(self.slots.iter().map(|slot| slot.until));
        times.retain(|time| *time >= self.now && self.admits(*time));
        let soonest = times.into_iter().min().expect("rule 3: a way out");
        Some(soonest - self.now).filter(|wait| !wait.is_zero())
    }

    /// Whether a call is admitted at `time`, if nothing happens before.
    fn admits(&self, time: Duration) -> bool {
        match &self.forced {
            Some(forced) if time < forced.until => forced.to == Override::Closed,
            _ => self.rules.observe_only || self.admits_beneath(time),
        }
    }

    fn admits_beneath(&self, time: Duration) -> bool {
        match &self.beneath {
            Beneath::Closed => true,
            Beneath::Open if time < self.window.until => false,
            _ => self.taken(time) < self.slots() && time >= self.prison_end(),
        }
    }

    fn taken(&self, time: Duration) -> usize {
        self.slots.iter().filter(|slot| time < slot.until).count()
    }

    fn slots(&self) -> usize {
        let slots = match &self.beneath {
            Beneath::HalfOpen(round) if self.is_starting() => {
                self.rules.at_once.max(round.successes + 1)
            }
            Beneath::HalfOpen(round) if round.is_granted => 1,
            _ if self.rules.by_probe_only => 1,
            _ => self.rules.at_once,
        };
        slots as usize
    }

    /// Whether a slow start is in progress: without it, the breaker would be closed.
    fn is_starting(&self) -> bool {
        let has_proved =
            |round: &Round| self.rules.slow_start && round.successes >= self.rules.to_close;
        matches!(&self.beneath, Beneath::HalfOpen(round) if has_proved(round))
    }

    fn is_as_closed(&self) -> bool {
        matches!(self.beneath, Beneath::Closed) || self.is_starting()
    }

    /// Rule 13.
    fn prison_end(&self) -> Duration {
        let is_prison = self.rules.by_probe_only && !self.is_starting();
        if is_prison {
            self.hold_end()
        } else {
            Duration::ZERO
        }
    }

    fn hold_end(&self) -> Duration {
        self.window.began + self.rules.max_hold.min(FAR)
    }

    /// Rule 5. During an outage, the streak does not age.
    fn consecutive_failures(&self) -> u32 {
        let (failures, last) = self.streak;
        let is_over =
            matches!(self.beneath, Beneath::Closed) && self.now - last > self.rules.within;
        if is_over { 0 } else { failures }
    }

    fn must_trip(&self) -> bool {
        let in_a_row = self.rules.trip.consecutive();
        in_a_row.is_some_and(|limit| self.streak.0 >= self.limit_above_noise(limit))
            || self.has_too_high_a_rate()
    }

    fn has_too_high_a_rate(&self) -> bool {
        let rate = self.rules.trip.rate();
        rate.is_some_and(|rate| self.is_exceeded(rate))
    }

    fn limit_above_noise(&self, limit: u32) -> u32 {
        let age = |blip: &Duration| (self.now - *blip).as_secs_f64();
        let noise: f64 = self
            .blips
            .iter()
            .map(|blip| (-age(blip) / 600.0).exp2())
            .sum();
        let steps = (1..=14_u32).filter(|doublings| noise >= f64::from(1 << doublings));
        let more = u32::try_from(steps.count()).expect("a few");
        if self.rules.exact {
            limit
        } else {
            limit + more.min(16_u32.saturating_sub(limit))
        }
    }

    /// Whether the failure rate is exceeded. The window moves in tenths.
    fn is_exceeded(&self, rate: Rate) -> bool {
        let tenth =
            |time: Duration| (time - self.rated_since).as_nanos() * 10 / rate.window.as_nanos();
        let is_recent = |end: &&(Duration, bool)| tenth(end.0) + 10 > tenth(self.now);
        let recent: Vec<_> = self.ended.iter().filter(is_recent).collect();
        let failures = recent.iter().filter(|(_, has_failed)| *has_failed).count();
        recent.len() >= rate.min_calls as usize && failures * rate.one_in as usize >= recent.len()
    }
}

/// Time.
impl Model {
    pub(crate) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        loop {
            let window_end = matches!(self.beneath, Beneath::Open).then_some(self.window.until);
            let force_end = self.forced.as_ref().map(|forced| forced.until);
            let ends = [window_end, force_end].into_iter().flatten();
            let Some(next) = ends.min().filter(|next| *next <= end) else {
                break;
            };
            self.now = next;
            if window_end == Some(next) {
                self.beneath = Beneath::HalfOpen(Round::default());
            }
            if force_end == Some(next) {
                self.forced = None;
            }
            self.announce();
        }
        self.now = end;
    }
}

/// Calls.
impl Model {
    /// Returns `None` if the call is refused.
    pub(crate) fn admit(&mut self) -> Option<Call> {
        if !self.admits(self.now) {
            return None;
        }
        self.calls += 1;
        let mut call = Call {
            id: self.calls,
            turn: self.admits_beneath(self.now).then_some(self.turn),
            is_trial: false,
            began: self.rules.is_timed().then_some(self.now),
            limit: self.rules.slow_call,
        };
        let until = self.after(self.rules.lease);
        if matches!(self.beneath, Beneath::HalfOpen(_)) && call.turn.is_some() {
            self.slots.push(Slot {
                call: Some(call.id),
                turn: self.turn,
                until,
            });
            call.is_trial = true;
            let (taken, slots) = (self.taken(self.now), self.slots());
            if let Beneath::HalfOpen(round) = &mut self.beneath {
                if taken >= slots {
                    round.full_until = round.successes + u32::try_from(taken).expect("a few");
                }
            }
        }
        Some(call)
    }

    pub(crate) fn release_slot(&mut self, call: &mut Call) {
        if let Some(limit) = self.exceeded(call) {
            self.record(call, slow(limit));
            call.turn = None;
        }
        call.began = None;
        self.free_slot(call);
    }

    pub(crate) fn drop(&mut self, call: &Call) {
        let until = self.after(self.rules.pause);
        if self.has_taken(call, self.rules.cancelled_after) {
            self.record(call, Outcome::failure("cancelled"));
        } else if self.free_slot(call) && call.turn == Some(self.turn) {
            self.slots.push(Slot {
                call: None,
                turn: self.turn,
                until,
            });
        }
    }

    pub(crate) fn record(&mut self, call: &Call, outcome: Outcome) {
        let outcome = match self.exceeded(call) {
            Some(limit) if outcome == Outcome::Success => slow(limit),
            _ => outcome,
        };
        self.free_slot(call);
        let is_late = call.turn != Some(self.turn);
        match outcome {
            // Rule 1 and its exception.
            Outcome::Throttled { retry_after, .. } if is_late => self.throttled_late(retry_after),
            _ if is_late => {}
            Outcome::Success => self.succeeded(),
            Outcome::Failure {
                reason,
                retry_after,
            } => self.failed(reason, retry_after),
            Outcome::Fatal { reason } => {
                self.note_failure(reason, None);
                self.open_for_failures();
            }
            Outcome::Throttled {
                retry_after,
                reason,
            } => self.throttled(retry_after, reason),
            Outcome::Answered => self.answered(),
            _ => {}
        }
    }

    fn succeeded(&mut self) {
        let is_as_closed = self.is_as_closed();
        if is_as_closed && self.consecutive_failures() > 0 {
            self.blips.push(self.now);
        }
        self.end_streak();
        self.unnamed = 0;
        self.has_succeeded_since_check = true;
        if is_as_closed {
            self.rate(false);
        }
        if matches!(self.beneath, Beneath::HalfOpen(_)) {
            self.last_check = Some(self.now);
            self.proved();
        }
    }

    fn answered(&mut self) {
        // These answers matter only for a trial or after a failure.
        let is_on_trial = matches!(self.beneath, Beneath::HalfOpen(_));
        self.answers += u32::from(is_on_trial || self.streak.0 > 0);
        if self.answers == 3 {
            self.succeeded();
        } else if self.is_as_closed() {
            self.rate(false);
        }
    }

    /// Records a call in the window. A failed call trips elsewhere.
    fn rate(&mut self, has_failed: bool) {
        self.ended.push((self.now, has_failed));
        if !has_failed && self.has_too_high_a_rate() {
            self.open_for_failures();
        }
    }

    fn end_streak(&mut self) {
        self.streak.0 = 0;
        self.requested = Duration::ZERO;
        self.answers = 0;
    }

    /// Records a successful trial, or a check that counts as one.
    fn proved(&mut self) {
        if matches!(self.beneath, Beneath::Open) {
            self.beneath = Beneath::HalfOpen(Round::default());
        }
        let (was_starting, slots) = (self.is_starting(), self.slots());
        let taken = self.taken(self.now);
        if let Beneath::HalfOpen(round) = &mut self.beneath {
            round.successes += 1;
            let has_room = 2 * (taken + 1) <= slots && round.successes > round.full_until;
            let is_over = has_room || round.successes >= 1_024;
            if round.successes < self.rules.to_close {
            } else if !self.rules.slow_start || was_starting && is_over {
                self.close();
            } else if !was_starting {
                self.forget();
            }
        }
        self.announce();
    }

    fn failed(&mut self, reason: Reason, retry_after: Option<Duration>) {
        self.note_failure(reason, retry_after);
        if !self.is_as_closed() || self.must_trip() {
            self.open_for_failures();
        }
    }

    fn open_for_failures(&mut self) {
        match self.beneath {
            Beneath::Closed => self.trip(Cause::Failures),
            Beneath::HalfOpen(_) => {
                self.level += 1;
                self.window.is_disproved = true;
                let wait = self.rules.wait_of_backoff(self.level);
                self.open(Cause::Failures, wait, self.requested);
            }
            Beneath::Open => {}
        }
    }

    fn note_failure(&mut self, reason: Reason, retry_after: Option<Duration>) {
        let before = self.consecutive_failures();
        if before == 0 {
            self.end_streak();
        }
        let wait = retry_after.unwrap_or_default().min(self.rules.max_wait);
        self.requested = self.requested.max(self.after(wait));
        self.streak = (before + 1, self.now);
        self.answers = 0;
        self.unnamed = 0;
        if self.is_as_closed() {
            self.rate(true);
        }
        self.last_error = Some(reason);
        self.last_check = Some(self.now);
    }

    fn throttled(&mut self, retry_after: Option<Duration>, reason: Reason) {
        let wait = self.rules.wait_of_throttle(retry_after, self.unnamed);
        self.unnamed = if retry_after.is_some() {
            0
        } else {
            self.unnamed + 1
        };
        self.last_error = Some(reason);
        self.last_check = Some(self.now);
        self.live_down();
        self.open(Cause::Throttled, wait, self.after(wait));
    }

    fn throttled_late(&mut self, retry_after: Option<Duration>) {
        if matches!(self.beneath, Beneath::Open) {
            let in_a_row = self.unnamed.saturating_sub(1);
            let named = self.after(self.rules.wait_of_throttle(retry_after, in_a_row));
            self.window.named = self.window.named.max(named);
            self.window.until = self.window.until.max(named);
        }
    }

    fn exceeded(&self, call: &Call) -> Option<Duration> {
        call.limit.filter(|_| self.has_taken(call, call.limit))
    }

    fn has_taken(&self, call: &Call, limit: Option<Duration>) -> bool {
        let taken = call.began.map(|began| self.now - began);
        limit.is_some() && taken >= limit
    }

    /// Frees the call's slot, and returns whether it had one.
    fn free_slot(&mut self, call: &Call) -> bool {
        self.slots.retain(|slot| self.now < slot.until);
        let is_its_own = |slot: &Slot| slot.call == Some(call.id);
        let place = self.slots.iter().position(is_its_own);
        place.map(|place| self.slots.remove(place)).is_some()
    }

    fn is_on_trial(&self) -> bool {
        let decides = |slot: &Slot| slot.call.is_some() && slot.turn == self.turn;
        let mut in_flight = self.slots.iter().filter(|slot| self.now < slot.until);
        in_flight.any(decides)
    }
}

/// The application and the operator.
impl Model {
    pub(crate) fn mark_healthy(&mut self) {
        if !matches!(self.beneath, Beneath::Closed) {
            self.close();
        }
        self.forget();
        self.blips.clear();
        self.level = 0;
        self.unnamed = 0;
        self.last_error = None;
        self.last_check = Some(self.now);
    }

    pub(crate) fn mark_unhealthy(&mut self, reason: Reason) {
        if matches!(self.beneath, Beneath::Closed) {
            return self.failed(reason, None);
        }
        self.note_failure(reason, None);
        if self.window.cause == Some(Cause::Probe) {
            self.window.cause = Some(Cause::Failures);
        }
        self.put_off();
    }

    pub(crate) fn grant_trial(&mut self) -> bool {
        let is_soon = |last| self.now - last < GRANT_PAUSE;
        let is_granted = matches!(self.beneath, Beneath::Open)
            && self.forced.is_none()
            && !self.rules.by_probe_only
            && self.now >= self.window.named
            && !self.granted_at.is_some_and(is_soon)
            && self.slots.iter().all(|slot| self.now >= slot.until);
        if is_granted {
            self.granted_at = Some(self.now);
            self.beneath = Beneath::HalfOpen(Round {
                is_granted,
                ..Round::default()
            });
            self.announce();
        }
        is_granted
    }

    pub(crate) fn force(&mut self, to: Override, ttl: Duration, reason: Reason) {
        let until = self.after(ttl);
        self.forced = Some(Forced { to, until, reason });
        self.announce();
        // The override may already be over.
        self.pass(Duration::ZERO);
    }

    pub(crate) fn unforce(&mut self) {
        self.forced = None;
        self.announce();
    }

    pub(crate) fn set_policy(&mut self, rules: Rules) {
        let window = |rules: &Rules| rules.trip.rate().map(|rate| rate.window);
        if window(&rules) != window(&self.rules) {
            self.ended.clear();
            self.rated_since = self.now;
        }
        self.rules = rules;
    }
}

/// Checks.
impl Model {
    pub(crate) fn begin_check(&self, is_functional: bool) -> Check {
        let turn = self.turn;
        Check {
            is_functional,
            turn,
        }
    }

    pub(crate) fn end_check(&mut self, check: &Check, passes: bool) {
        self.last_check = Some(self.now);
        // The probe repeats a check from before the open window if that window has ended.
        if check.turn == self.turn || matches!(self.beneath, Beneath::HalfOpen(_)) {
            self.checked(check.is_functional, passes);
        }
    }

    fn checked(&mut self, is_functional: bool, passes: bool) {
        let is_outranked = mem::take(&mut self.has_succeeded_since_check);
        if !passes {
            self.last_error = Some("check failed".into());
        }
        match &self.beneath {
            Beneath::Closed if passes || is_outranked => self.failed_checks = 0,
            Beneath::Closed => {
                self.failed_checks += 1;
                if self.failed_checks >= self.rules.trip.consecutive().unwrap_or(2) {
                    self.trip(Cause::Probe);
                }
            }
            // The trial in flight decides.
            Beneath::HalfOpen(_) if !passes && self.is_on_trial() => {}
            _ if !passes => self.put_off(),
            _ if self.now < self.window.named => {}
            _ if is_functional => self.proved(),
            _ if self.rules.by_probe_only || self.window.is_disproved => {}
            _ if self.window.cause == Some(Cause::Probe) => self.proved(),
            _ => drop(self.grant_trial()),
        }
    }
}

/// Changes of state.
impl Model {
    fn trip(&mut self, cause: Cause) {
        self.live_down();
        let wait = self.rules.wait_of_backoff(self.level);
        let requested = match cause {
            Cause::Failures => self.requested,
            _ => Duration::ZERO,
        };
        self.open(cause, wait, requested);
    }

    fn open(&mut self, cause: Cause, wait: Duration, named: Duration) {
        self.window = Window {
            cause: Some(cause),
            began: self.now,
            until: self.after(wait).max(named),
            named,
            is_disproved: self.window.is_disproved,
        };
        self.change(Beneath::Open);
        // The window may already be over.
        self.pass(Duration::ZERO);
    }

    /// Extends the window after a mark or a failed check: to a full backoff from now, within the hold.
    fn put_off(&mut self) {
        let wait = self.after(self.rules.wait_of_backoff(self.level));
        let until = self.window.until.max(wait.min(self.hold_end()));
        if until > self.now {
            self.window.until = until;
            if matches!(self.beneath, Beneath::HalfOpen(_)) {
                self.change(Beneath::Open);
            }
        }
        self.announce();
    }

    fn close(&mut self) {
        self.closed_at = self.now;
        self.window.is_disproved = false;
        self.forget();
        self.change(Beneath::Closed);
    }

    fn change(&mut self, to: Beneath) {
        self.beneath = to;
        self.slots.retain(|slot| slot.call.is_some());
        self.answers = 0;
        self.turn += 1;
        self.announce();
    }

    /// Clears the failures counted while closed.
    fn forget(&mut self) {
        self.end_streak();
        self.ended.clear();
        self.failed_checks = 0;
    }

    /// Rule 6.
    fn live_down(&mut self) {
        if self.is_lived_down() {
            self.level = 0;
        }
    }

    fn is_lived_down(&self) -> bool {
        let was_open = self.window.until - self.window.began;
        matches!(self.beneath, Beneath::Closed) && self.now - self.closed_at >= was_open
    }

    /// Rule 8.
    fn announce(&mut self) {
        let (from, old_cause, _) = self.seen;
        let (to, cause) = self.state();
        self.seen.1 = cause;
        if from == to {
            return;
        }
        let reason = self.reason();
        // The end of a window or an override needs no reason.
        let is_explained = cause.is_none() || (to == State::HalfOpen && cause == old_cause);
        self.seen = (to, cause, Some(self.now));
        self.changes.push(Change {
            from,
            to,
            cause: cause.or(old_cause),
            reason: reason.filter(|_| !is_explained),
            at: self.now,
        });
    }
}
