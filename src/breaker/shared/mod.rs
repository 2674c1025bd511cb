//! A breaker that threads share: the state machine under a lock, and the atomics that healthy calls read instead.
//!
//! While a breaker is closed and the last call succeeded, a call loads the [`HotState`] once to be admitted, and once to see
//! that its success changes nothing. With a failure rate, it counts the success in the [`HotSlot`] too. Every other event goes
//! through [`SharedBreaker::update`], which holds the lock for a few arithmetic steps, and never across a callback, a log line
//! or an `.await`.

mod hot_slot;
mod outbox;
mod refusal_copies;

use std::{
    fmt,
    pin::{Pin, pin},
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

pub(crate) use self::hot_slot::HotSlot;
use self::{
    hot_slot::{HotState, SlotGuard},
    outbox::Outbox,
    refusal_copies::NO_REFUSAL,
};
use super::{
    listeners::Listeners,
    machine::{Breaker, LayerId, Seen},
    ticket::Ticket,
};
use crate::{
    outcome::{Judged, Outcome},
    policy::Policy,
    telemetry::{self, ChainLogs, Meters, OpenTime, Refusals},
    util::{
        panics::{has_timers, with_safe_waker},
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
        },
        time::{MonotonicNanos, after},
    },
    view::{CircuitOpen, ProviderHealth, Refusal, State, Transition},
};

pub(crate) type AdmissionChanged = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pub(crate) struct SharedBreaker {
    id: Arc<str>,
    hot_slot: SlotGuard,
    /// [`UNUSED`], [`USED`] or [`REMOVED`].
    usage: AtomicU8,
    locked: Mutex<Locked>,
    /// [`MonotonicNanos::bits`] of the time until which calls are refused. Unused while every call is admitted.
    refuses_until: AtomicU64,
    /// [`Trip::slow_call`](crate::Trip::slow_call) in milliseconds; zero if there is no limit.
    slow_call: AtomicU32,
    /// The id of the refusal that calls get without the lock; [`NO_REFUSAL`] if they need the lock.
    refusal_id: AtomicU64,
    /// Notified when the time of the next admission changes, or when an override starts, changes or is lifted early.
    admission_changed: Notify,
    listeners: Arc<Listeners>,
    refusals: Refusals,
}

struct Locked {
    breaker: Breaker,
    outbox: Outbox,
    open_time: OpenTime,
    /// The refusal with that id. Each thread has a copy of its own.
    refusal: Option<Box<Refusal>>,
}

/// Not requested by its key since the cache last checked.
const UNUSED: u8 = 0;
/// Requested by its key since the cache last checked.
const USED: u8 = 1;
/// Removed from the cache. The caller must ask the cache again for this id.
const REMOVED: u8 = 2;

impl SharedBreaker {
    pub(crate) fn new(id: Arc<str>, policy: Arc<Policy>, listeners: Arc<Listeners>) -> Arc<Self> {
        let hot_slot = SlotGuard::new();
        let breaker = Breaker::new(policy, hot_slot.state().epoch(), Instant::now());
        hot_slot.show(HotState::of(&breaker));
        let slow_call = AtomicU32::new(in_millis(breaker.policy().trip.slow_call));
        let breaker = Arc::new(Self {
            id,
            hot_slot,
            usage: AtomicU8::new(UNUSED),
            locked: Mutex::new(Locked {
                breaker,
                outbox: Outbox::default(),
                open_time: OpenTime::default(),
                refusal: None,
            }),
            refuses_until: AtomicU64::new(0),
            slow_call,
            refusal_id: AtomicU64::new(NO_REFUSAL),
            admission_changed: Notify::new(),
            listeners,
            refusals: Refusals::default(),
        });
        breaker.hot_slot.assign(Arc::downgrade(&breaker));
        breaker
    }

    #[inline]
    pub(crate) fn hot_slot(&self) -> &'static HotSlot {
        self.hot_slot.hot_slot()
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn chain_logs(&self) -> &ChainLogs {
        &self.listeners.chains
    }

    /// Marks the breaker as used. Returns false if the cache has removed it. Only the first call after a
    /// [`take_touch`](Self::take_touch) writes.
    #[inline]
    pub(crate) fn touch(&self) -> bool {
        self.usage.load(Ordering::Relaxed) == USED
            || self.change_usage(UNUSED, USED) != Err(REMOVED)
    }

    /// Returns whether the breaker was used since the last call of this method.
    pub(crate) fn take_touch(&self) -> bool {
        self.change_usage(USED, UNUSED).is_ok()
    }

    /// Marks the breaker as removed from the cache.
    pub(crate) fn mark_removed(&self) {
        self.usage.store(REMOVED, Ordering::SeqCst);
    }

    /// Counts events on these meters until the cache removes the breaker. Not called under a lock, because a metrics recorder is
    /// user code.
    pub(crate) fn meter(&self, meters: &Meters) {
        self.hot_slot().meters.start(meters, || self.state());
        self.unmeter_if_removed();
    }

    /// Like [`meter`](Self::meter), but keeps existing meters: another thread may have set them meanwhile.
    pub(crate) fn meter_if_none(&self, meters: &Meters) {
        self.hot_slot()
            .meters
            .start_if_none(meters, || self.state());
        self.unmeter_if_removed();
    }

    fn unmeter_if_removed(&self) {
        if self.usage.load(Ordering::SeqCst) == REMOVED {
            self.unmeter();
        }
    }

    fn state(&self) -> State {
        self.look(|breaker, _| breaker.seen().state)
    }

    pub(crate) fn unmeter(&self) {
        self.hot_slot().meters.end();
    }

    fn change_usage(&self, from: u8, to: u8) -> Result<u8, u8> {
        self.usage
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
    }

    /// Returns whether eviction would lose a failure that still counts, or an override. Notifies no listener, so it can be
    /// called under the cache's lock.
    pub(crate) fn is_unhealthy(&self, now: Instant) -> bool {
        !self.hot_slot().state().success_is_noop() && self.lock().breaker.is_unhealthy(now)
    }

    pub(crate) fn slow_call(&self) -> Option<Duration> {
        let millis = self.slow_call.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis.into()))
    }

    /// Returns whether a call would be admitted now.
    #[inline]
    pub(crate) fn is_healthy(&self) -> bool {
        self.hot_slot().state().admits() || self.is_healthy_again()
    }

    // Out of line, to keep the code inlined into a healthy call small.
    #[inline(never)]
    fn is_healthy_again(&self) -> bool {
        let refuses_until = self.refuses_until.load(Ordering::Acquire);
        MonotonicNanos::of(Instant::now()).bits() >= refuses_until && self.is_healthy_now()
    }

    // Out of line, because most calls of an open breaker are refused before.
    #[inline(never)]
    fn is_healthy_now(&self) -> bool {
        let (is_healthy, lacks_trial_lease) = self.look(|breaker, now| {
            let is_healthy = breaker.retry_in(now).is_none();
            (is_healthy, breaker.lacks_trial_lease(now))
        });
        if lacks_trial_lease {
            // A chain skips a provider that is not healthy, so its calls do not get as far as `admit`.
            self.update(Breaker::request_trial_lease);
        }
        is_healthy
    }

    pub(crate) fn admit(&self, layer: LayerId) -> Result<Ticket, CircuitOpen> {
        let state = self.hot_slot().state();
        if state.admits() {
            let ticket = Ticket::live(state.epoch());
            return Ok(if state.admits_unwatched() {
                ticket
            } else {
                ticket.watched()
            });
        }
        match self.standing_refusal() {
            Some(refusal) if refusal.holds_at(Instant::now()) => Err(self.refused(refusal)),
            _ => self.ask(|breaker, now| breaker.admit(layer, now)),
        }
    }

    /// Like [`admit`](Self::admit), for a chain that fails open.
    pub(crate) fn admit_failing_open(&self, layer: LayerId) -> Result<Ticket, CircuitOpen> {
        self.ask(|breaker, now| breaker.admit_failing_open(layer, now))
    }

    fn ask(
        &self,
        admit: impl FnOnce(&mut Breaker, Instant) -> Result<Ticket, Duration>,
    ) -> Result<Ticket, CircuitOpen> {
        let admitted = self.update(|breaker, now| {
            admit(breaker, now).map_err(|wait| self.refusal(breaker, now + wait))
        });
        admitted.map_err(|refusal| self.refused(refusal.into()))
    }

    /// Returns a refusal even if a call would be admitted now; its wait is then zero. The caller has seen the breaker refuse.
    pub(crate) fn refuse(&self) -> CircuitOpen {
        self.refused(self.current_refusal())
    }

    fn current_refusal(&self) -> Arc<Refusal> {
        // The clock is read only for an override, because a refusal does not know the state beneath it. Of an open window that
        // has ended, it knows.
        let standing = self
            .standing_refusal()
            .filter(|refusal| !refusal.is_forced() || refusal.holds_at(Instant::now()));
        standing.unwrap_or_else(|| {
            self.look(|breaker, now| {
                let wait = breaker.retry_in(now).unwrap_or_default();
                self.refusal(breaker, now + wait).into()
            })
        })
    }

    /// Counts a refusal.
    fn refused(&self, refusal: Arc<Refusal>) -> CircuitOpen {
        let refusal = CircuitOpen::refused(refusal);
        self.hot_slot().meters.refused();
        self.refusals.refused(&refusal);
        refusal
    }

    /// Returns this thread's copy of the refusal that calls get without the lock, if there is one.
    fn standing_refusal(&self) -> Option<Arc<Refusal>> {
        if self.hot_slot().state().admits() {
            return None;
        }
        // Relaxed: it is stored before the state just loaded, and what it identifies never changes.
        match self.refusal_id.load(Ordering::Relaxed) {
            NO_REFUSAL => None,
            id => refusal_copies::own(id).or_else(|| self.copy_refusal()),
        }
    }

    #[cold]
    fn copy_refusal(&self) -> Option<Arc<Refusal>> {
        let locked = self.lock();
        let copy = Arc::new(Refusal::clone(locked.refusal.as_deref()?));
        let id = self.refusal_id.load(Ordering::Relaxed);
        drop(locked);
        refusal_copies::keep(id, Arc::clone(&copy));
        Some(copy)
    }

    fn refusal(&self, breaker: &Breaker, until: Instant) -> Refusal {
        let Seen { state, cause } = breaker.seen();
        Refusal {
            provider: Arc::clone(&self.id),
            state,
            cause,
            until,
            changes_at: breaker.changes_at(),
            last_error: breaker.last_error().cloned(),
        }
    }

    pub(crate) fn record(&self, ticket: Ticket, outcome: Outcome) {
        let judged = self.update(|breaker, now| breaker.record(ticket, outcome, now));
        self.judged(ticket, judged);
    }

    pub(crate) fn dropped(&self, ticket: Ticket, started: Option<Instant>) -> Judged {
        let judged = self.update(|breaker, now| breaker.dropped(ticket, started, now));
        self.judged(ticket, judged);
        judged
    }

    fn judged(&self, ticket: Ticket, judged: Judged) {
        if !ticket.is_judged_elsewhere() {
            self.hot_slot().meters.judged(judged);
        }
    }

    pub(crate) fn answer_began(&self, ticket: Ticket) {
        self.update(|breaker, _| breaker.answer_began(ticket));
    }

    /// Returns the error of a released call.
    pub(crate) fn release(&self) -> CircuitOpen {
        CircuitOpen::released(self.current_refusal())
    }

    pub(crate) fn health(&self) -> ProviderHealth {
        self.look(|breaker, now| {
            let Seen { state, cause } = breaker.seen();
            let retry_in = breaker.retry_in(now);
            ProviderHealth {
                id: Arc::clone(&self.id),
                state,
                healthy: retry_in.is_none(),
                cause,
                reason: breaker.reason().cloned(),
                consecutive_failures: breaker.consecutive_failures(now),
                failed_trials: breaker.failed_trials(now),
                last_error: breaker.last_error().cloned(),
                last_check: breaker.last_check(),
                since: breaker.since(),
                retry_in,
                not_before: breaker.not_before(now),
                forced_for: breaker.lifts_at().map(|at| at - now),
                shadow: breaker.shadow(),
            }
        })
    }

    /// Completes when the time of the next admission changes. Must be polled once to register.
    pub(crate) fn admission_changed(self: Arc<Self>) -> AdmissionChanged {
        Box::pin(with_safe_waker(async move {
            let changed = self.admission_changed.notified();
            match self.look(|breaker, _| breaker.lifts_at()) {
                // No notification is sent when an override expires, so a timer waits for it, if the runtime has timers.
                Some(at) if has_timers() => drop(timeout_at(at, changed).await),
                _ => changed.await,
            }
        }))
    }

    /// Waits until a call would be admitted.
    pub(crate) async fn until_admits(&self) {
        loop {
            let mut changed = pin!(self.admission_changed.notified());
            changed.as_mut().enable();
            let admits_at = self.update(|breaker, now| {
                breaker.request_trial_lease(now);
                Some(after(now, breaker.retry_in(now)?))
            });
            let Some(at) = admits_at else {
                return;
            };
            // Notified or timed out: check again.
            let _ = timeout_at(at, changed).await;
        }
    }

    /// Reads the breaker as of now.
    pub(crate) fn look<R>(&self, view: impl FnOnce(&Breaker, Instant) -> R) -> R {
        self.with_current(|breaker, _, now| view(breaker, now))
    }

    /// Applies one event to the state machine, and notifies listeners of the changes.
    pub(crate) fn update<R>(&self, step: impl FnOnce(&mut Breaker, Instant) -> R) -> R {
        let (result, admission_changed, override_changed, must_sync) =
            self.with_current(|breaker, outbox, now| {
                let before = breaker.seen();
                let (wait, change) = (breaker.retry_in(now), breaker.changes_at());
                let was_forced = breaker.is_forced();
                let result = step(breaker, now);
                self.announce(outbox, before, breaker, now);
                let is_forced = breaker.is_forced();
                let moved = is_forced && breaker.changes_at() != change;
                (
                    result,
                    breaker.retry_in(now) != wait,
                    moved || was_forced != is_forced,
                    breaker.take_must_sync(),
                )
            });
        if admission_changed || override_changed {
            self.admission_changed.notify_waiters();
        }
        if override_changed {
            self.listeners.overrides.send_replace(());
        }
        if must_sync {
            self.listeners.syncs.send_replace(());
        }
        result
    }

    /// Advances the breaker to now, then runs `then`. The only access to the state machine.
    // Out of line, to keep the code inlined into a healthy call small.
    #[inline(never)]
    fn with_current<R>(&self, then: impl FnOnce(&mut Breaker, &mut Outbox, Instant) -> R) -> R {
        let mut locked = self.lock();
        let Locked {
            breaker,
            outbox,
            open_time,
            refusal,
        } = &mut *locked;
        // Read under the lock, so that the breaker never sees time go backwards.
        let now = Instant::now();

        breaker.add_counted(self.hot_slot.take_successes());
        // Makes one change at a time, so that each one is announced.
        loop {
            let due = breaker.changes_at().map_or(now, |at| at.min(now));
            let before = breaker.seen();
            open_time.pass(before.state, due);
            breaker.advance_to(due);
            self.announce(outbox, before, breaker, now);
            if due == now {
                break;
            }
        }
        let result = then(breaker, outbox, now);

        let must_send = outbox.start_sending();
        let open_seconds = open_time.take_seconds();
        self.show(breaker, refusal, now);
        let must_release = breaker.take_release();
        if must_release {
            self.hot_slot.lanes.release_before(breaker.epoch());
        }
        drop(locked);
        if must_release {
            self.hot_slot.lanes.wake_released();
        }
        self.hot_slot().meters.open_for(open_seconds);
        if must_send {
            self.send_pending();
        }
        result
    }

    fn announce(&self, outbox: &mut Outbox, before: Seen, breaker: &Breaker, now: Instant) {
        let Seen { state, cause } = breaker.seen();
        let has_listener = telemetry::IS_ON || self.listeners.transitions.receiver_count() > 0;
        if state == before.state || !has_listener {
            return;
        }
        let explains_itself = state == State::HalfOpen && cause == before.cause;
        let reason = breaker
            .reason()
            .filter(|_| !explains_itself && cause.is_some());
        outbox.add(Transition {
            provider: Arc::clone(&self.id),
            from: before.state,
            to: state,
            cause: cause.or(before.cause),
            reason: reason.cloned(),
            at: breaker.since().unwrap_or(now),
            retry_in: breaker.retry_in(now),
        });
    }

    /// Sends the transitions of the outbox, each without the lock.
    fn send_pending(&self) {
        loop {
            let mut locked = self.lock();
            let Some(transition) = locked.outbox.next() else {
                return;
            };
            drop(locked);
            self.hot_slot().meters.changed(&transition);
            telemetry::changed(&transition);
            // An error only means that there is no listener.
            let _ = self.listeners.transitions.send(transition);
        }
    }

    /// Updates everything that is read without the lock. The [`HotState`] comes last: see the [module](super).
    fn show(&self, breaker: &mut Breaker, shown: &mut Option<Box<Refusal>>, now: Instant) {
        let state = HotState::of(breaker);
        // A call that needs a lease first takes the lock, to request it.
        let wait = breaker
            .retry_in(now)
            .filter(|_| !breaker.lacks_trial_lease(now));
        let until = wait.map(|wait| now + wait);
        let refusal = until.map(|until| self.refusal(breaker, until));
        if shown.as_deref() != refusal.as_ref() {
            let id = refusal
                .as_ref()
                .map_or(NO_REFUSAL, |_| refusal_copies::new_id());
            self.refusal_id.store(id, Ordering::Relaxed);
            *shown = refusal.map(Box::new);
        }
        if !state.admits() {
            let until = until.map_or(0, |until| MonotonicNanos::of(until).bits());
            self.refuses_until.store(until, Ordering::Release);
        }
        let until = breaker
            .counts_without_lock_until(now)
            .map_or(0, |at| MonotonicNanos::of(at).bits());
        if until != self.hot_slot.counts_until() {
            breaker.add_counted(self.hot_slot.restart_counting(until));
            breaker.start_counting(now);
        }
        let slow_call = in_millis(breaker.policy().trip.slow_call);
        if slow_call != self.slow_call.load(Ordering::Relaxed) {
            self.slow_call.store(slow_call, Ordering::Relaxed);
        }
        self.hot_slot.show(state);
    }

    /// Ignores poisoning: no user code runs under the lock, and the state is consistent after every step.
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rounds up, as Tokio's timers do.
fn in_millis(limit: Option<Duration>) -> u32 {
    let millis = limit.map_or(0, |limit| limit.as_nanos().div_ceil(1_000_000));
    u32::try_from(millis).unwrap_or(u32::MAX)
}

impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { state, cause } = self.look(|breaker, _| breaker.seen());
        f.debug_struct("SharedBreaker")
            .field("id", &self.id)
            .field("state", &state)
            .field("cause", &cause)
            .finish_non_exhaustive()
    }
}
