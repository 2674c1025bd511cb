use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

#[cfg(feature = "fleet")]
use crate::breaker::{LeaseTimes, PeerEffect, PeerWindow, Report};
use crate::{
    breaker::{AdmissionChanged, Breaker, Depth, HotSlot, LayerId, Permit, SharedBreaker, Ticket},
    outcome::{Outcome, Reason},
    policy::Policy,
    telemetry::ChainLogs,
    view::{CircuitOpen, Override, ProviderHealth},
};

/// A handle to one provider and its circuit breaker.
///
/// A provider is whatever can fail on its own: a host, a model, a shard. The handle is cheap to clone. In one
/// [`HealthCache`](crate::HealthCache), all handles with the same id share one breaker.
#[derive(Clone)]
pub struct Provider {
    breaker: Arc<SharedBreaker>,
}

impl Provider {
    pub(crate) fn new(breaker: Arc<SharedBreaker>) -> Self {
        Self { breaker }
    }

    /// Returns the provider's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.shared_id()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        self.breaker.id()
    }

    pub(crate) fn chain_logs(&self) -> &ChainLogs {
        self.breaker.chain_logs()
    }

    /// Requests a permit for one call.
    ///
    /// # Errors
    ///
    /// [`CircuitOpen`] if the breaker is open, or half-open with all trials in flight.
    #[inline]
    pub fn admit(&self) -> Result<Permit, CircuitOpen> {
        self.admit_to(LayerId::NONE)
    }

    /// Like [`admit`](Self::admit), for a call through a layer.
    #[inline]
    pub(crate) fn admit_to(&self, layer: LayerId) -> Result<Permit, CircuitOpen> {
        let ticket = self.breaker.admit(layer)?;
        Ok(Permit::new(&self.breaker, ticket))
    }

    /// Admits a call whose outcome another permit records, or none.
    pub(crate) fn admit_uncounted(&self) -> Permit {
        let hot_slot = self.breaker.hot_slot();
        Permit::unwatched(hot_slot, Ticket::judged_elsewhere(hot_slot.state().epoch()))
    }

    /// Admits a call of a chain even if failures opened the breaker. If a trial can be granted, the call is that trial; otherwise
    /// its outcome does not count.
    pub(crate) fn admit_failing_open(&self, layer: LayerId) -> Result<Permit, CircuitOpen> {
        let ticket = self.breaker.admit_failing_open(layer)?;
        Ok(Permit::new(&self.breaker, ticket))
    }

    /// Returns whether a chain may fail open: the breaker admits calls, or refuses them only because of failures.
    pub(crate) fn may_fail_open(&self) -> bool {
        self.breaker.look(|breaker, now| {
            breaker.retry_in(now).is_none() || breaker.refuses_for_failures(now)
        })
    }

    /// Returns whether a call would be admitted now.
    #[inline]
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.breaker.is_healthy()
    }

    /// Returns a copy of the provider's health.
    #[must_use]
    pub fn health(&self) -> ProviderHealth {
        self.breaker.health()
    }

    /// Closes the breaker and resets its counts, its backoff and its last error.
    ///
    /// It does not end an override by [`force`](Self::force).
    pub fn mark_healthy(&self) {
        self.breaker.update(Breaker::mark_healthy);
    }

    /// Records a failed call that was made elsewhere.
    ///
    /// An open breaker then stays open for at least a full backoff from now, and a half-open one opens again. Both end at the
    /// latest [`Backoff::max_hold`](crate::Backoff::max_hold) after the trip or the last failed trial.
    pub fn mark_unhealthy(&self, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker
            .update(|breaker, now| breaker.mark_unhealthy(reason, now));
    }

    /// Ends an open window now, so that the next call is admitted as a trial. Returns whether it did.
    ///
    /// It returns false and changes nothing if:
    /// - the breaker is not open, or is [forced](Self::force);
    /// - the pause that the provider [asked for](crate::Outcome::Throttled) is not over;
    /// - [`Trials::by_probe_only`](crate::Trials::by_probe_only) is set;
    /// - a trial is still in flight, or one was granted less than a second ago.
    #[must_use = "false means that no trial was granted"]
    pub fn grant_trial(&self) -> bool {
        self.breaker.update(Breaker::grant_trial)
    }

    /// Holds the breaker open or closed for `ttl`, or until [`unforce`](Self::unforce) is called.
    ///
    /// Outcomes are still counted, so the state beneath the override keeps changing. A call that only the override admits does
    /// not count.
    pub fn force(&self, to: Override, ttl: Duration, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker
            .update(|breaker, now| breaker.force(to, ttl, reason, now));
    }

    /// Ends the override of [`force`](Self::force), if there is one.
    pub fn unforce(&self) {
        self.breaker.update(Breaker::unforce);
    }

    /// Returns the provider's policy.
    pub fn policy(&self) -> Policy {
        self.breaker
            .look(|breaker, _| Policy::clone(breaker.policy()))
    }

    /// Sets a policy for this provider alone. Its state does not change: an open window ends when it would have.
    ///
    /// [`HealthCache::set_policy`](crate::HealthCache::set_policy) no longer changes this provider's policy.
    pub fn set_policy(&self, policy: Policy) {
        let policy = Arc::new(policy);
        self.breaker
            .update(|breaker, now| breaker.set_policy(policy, now));
    }
}

/// Methods for layers.
impl Provider {
    #[inline]
    pub(crate) fn hot_slot(&self) -> &'static HotSlot {
        self.breaker.hot_slot()
    }

    /// Notes that the provider was called by its key. Returns false if the cache has removed it.
    #[inline]
    pub(crate) fn touch(&self) -> bool {
        self.breaker.touch()
    }

    /// Returns a refusal without asking the breaker again.
    pub(crate) fn refuse(&self) -> CircuitOpen {
        self.breaker.refuse()
    }

    /// Completes when the breaker would admit a call at another time than now.
    pub(crate) fn admission_changed(&self) -> AdmissionChanged {
        Arc::clone(&self.breaker).admission_changed()
    }
}

/// Methods for chains.
impl Provider {
    /// Returns the time until a call is admitted; zero if it would be admitted now.
    pub(crate) fn retry_in(&self) -> Duration {
        self.breaker
            .look(|breaker, now| breaker.retry_in(now).unwrap_or_default())
    }

    /// Waits until a call would be admitted.
    pub(crate) async fn until_admits(&self) {
        self.breaker.until_admits().await;
    }
}

/// Methods for probes.
impl Provider {
    /// Returns whether both handles refer to the same breaker. A provider that was removed and added again has a new one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.breaker, &other.breaker)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.breaker.look(|breaker, _| breaker.epoch())
    }

    pub(crate) fn is_half_open(&self) -> bool {
        self.breaker.look(|breaker, _| breaker.is_half_open())
    }

    /// Returns when the state changes by time alone.
    pub(crate) fn changes_at(&self) -> Option<Instant> {
        self.breaker.look(|breaker, _| breaker.changes_at())
    }

    /// Returns whether a live call has succeeded since this was last called.
    pub(crate) fn take_live_proof(&self) -> bool {
        self.breaker.update(|breaker, _| breaker.take_live_proof())
    }

    /// Records the outcome of a check that began in `epoch`. Returns true if an open window began and ended meanwhile, so that
    /// the half-open breaker needs another check.
    pub(crate) fn check_ended(&self, epoch: u64, depth: Depth, outcome: Outcome) -> bool {
        self.breaker.update(|breaker, now| {
            breaker.check_ended(epoch, depth, outcome, now);
            breaker.is_half_open() && epoch + 1 < breaker.epoch()
        })
    }

    /// Counts a check in the metrics.
    pub(crate) fn count_check(&self, result: &'static str, took: Duration) {
        self.hot_slot().meters.checked(result, took);
    }
}

/// Methods for fleets.
#[cfg(feature = "fleet")]
impl Provider {
    /// Returns the state that other replicas should know.
    pub(crate) fn report(&self) -> Report {
        self.breaker.look(|breaker, _| breaker.report())
    }

    /// From now on, trials need a lease.
    pub(crate) fn join_fleet(&self, lease_times: LeaseTimes) {
        self.breaker
            .update(|breaker, _| breaker.join_fleet(lease_times));
    }

    pub(crate) fn trial_lease_returned(&self, epoch: u64) {
        self.breaker
            .update(|breaker, _| breaker.trial_lease_returned(epoch));
    }

    pub(crate) fn downgrade(&self) -> WeakProvider {
        WeakProvider(Arc::downgrade(&self.breaker))
    }

    pub(crate) fn leave_fleet(&self) {
        self.breaker.update(|breaker, _| breaker.leave_fleet());
    }

    pub(crate) fn trial_lease_granted(&self, epoch: u64, until: Instant) {
        self.breaker
            .update(|breaker, _| breaker.trial_lease_granted(epoch, until));
    }

    /// Sets whether another replica has found the provider down. Returns false if the breaker has changed since `epoch`.
    pub(crate) fn warn(&self, epoch: u64, is_warned: bool) -> bool {
        self.breaker
            .update(|breaker, now| breaker.warn(epoch, is_warned, now))
    }

    /// Opens a warned breaker that is failing.
    pub(crate) fn open_warned(&self, epoch: u64) {
        self.breaker
            .update(|breaker, now| breaker.open_warned(epoch, now));
    }

    /// Another replica has an open window.
    pub(crate) fn peer_opened(&self, epoch: u64, peer: PeerWindow) -> PeerEffect {
        self.breaker
            .update(|breaker, now| breaker.peer_opened(epoch, peer, now))
    }

    pub(crate) fn force_until(&self, to: Override, until: Instant, reason: Reason) {
        self.breaker
            .update(|breaker, now| breaker.force_until(to, until, reason, now));
    }

    /// Ends the override, unless another has replaced the one that lasts until `until`.
    pub(crate) fn unforce_if_until(&self, until: Instant) {
        self.breaker.update(|breaker, now| {
            if breaker.lifts_at() == Some(until) {
                breaker.unforce(now);
            }
        });
    }

    /// Another replica's trial or check has succeeded. Returns false if this breaker must still wait.
    pub(crate) fn peer_closed(&self, epoch: u64) -> bool {
        self.breaker
            .update(|breaker, now| breaker.peer_closed(epoch, now))
    }
}

/// A handle that keeps no breaker alive.
#[cfg(feature = "fleet")]
#[derive(Clone, Debug)]
pub(crate) struct WeakProvider(std::sync::Weak<SharedBreaker>);

#[cfg(feature = "fleet")]
impl WeakProvider {
    pub(crate) fn upgrade(&self) -> Option<Provider> {
        self.0.upgrade().map(Provider::new)
    }

    pub(crate) fn is_of(&self, provider: &Provider) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&provider.breaker))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.breaker).finish()
    }
}
