use std::{fmt, sync::Arc, time::Duration};

use crate::{
    breaker::{Breaker, LayerId, Permit, SharedBreaker, Ticket},
    outcome::Reason,
    policy::Policy,
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

    #[inline]
    pub(crate) fn breaker(&self) -> &Arc<SharedBreaker> {
        &self.breaker
    }

    /// Returns the provider's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.shared_id()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        self.breaker().id()
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
        let ticket = self.breaker().admit(layer)?;
        Ok(Permit::new(self.breaker().hot_slot(), ticket))
    }

    /// Admits a call whose outcome another permit records, or none.
    pub(crate) fn admit_uncounted(&self) -> Permit {
        let hot_slot = self.breaker().hot_slot();
        Permit::new(hot_slot, Ticket::judged_elsewhere(hot_slot.state().epoch()))
    }

    /// Admits a call of a chain even if failures opened the breaker. If a trial can be granted, the call is that trial; otherwise
    /// its outcome does not count.
    pub(crate) fn admit_failing_open(&self, layer: LayerId) -> Result<Permit, CircuitOpen> {
        let ticket = self.breaker().admit_failing_open(layer)?;
        Ok(Permit::new(self.breaker().hot_slot(), ticket))
    }

    /// Whether a chain may override the breaker: it admits calls, or refuses them only because of failures.
    pub(crate) fn may_fail_open(&self) -> bool {
        self.breaker().look(|breaker, now| {
            breaker.retry_in(now).is_none() || breaker.refuses_for_failures(now)
        })
    }

    /// Returns whether a call would be admitted now.
    #[inline]
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.breaker().is_healthy()
    }

    /// Returns a copy of the provider's health.
    #[must_use]
    pub fn health(&self) -> ProviderHealth {
        self.breaker().health()
    }

    /// Closes the breaker and resets its counts, its backoff and its last error.
    ///
    /// It does not end an override by [`force`](Self::force).
    pub fn mark_healthy(&self) {
        self.breaker().update(Breaker::mark_healthy);
    }

    /// Records a failed call that was made elsewhere.
    ///
    /// An open breaker then stays open for at least a full backoff from now, and a half-open one opens again. Both end at the
    /// latest [`Backoff::max_hold`](crate::Backoff::max_hold) after the trip or the last failed trial.
    pub fn mark_unhealthy(&self, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker()
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
        self.breaker().update(Breaker::grant_trial)
    }

    /// Holds the breaker open or closed for `ttl`, or until [`unforce`](Self::unforce) is called.
    ///
    /// Outcomes are still counted, so the state beneath the override keeps changing. A call that only the override admits does
    /// not count.
    pub fn force(&self, to: Override, ttl: Duration, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker()
            .update(|breaker, now| breaker.force(to, ttl, reason, now));
    }

    /// Ends the override of [`force`](Self::force), if there is one.
    pub fn unforce(&self) {
        self.breaker().update(Breaker::unforce);
    }

    /// Returns the provider's policy.
    pub fn policy(&self) -> Policy {
        self.breaker()
            .look(|breaker, _| Policy::clone(breaker.policy()))
    }

    /// Sets a policy for this provider alone. Its state does not change: an open window ends when it would have.
    ///
    /// [`HealthCache::set_policy`](crate::HealthCache::set_policy) no longer changes this provider's policy.
    pub fn set_policy(&self, policy: Policy) {
        let policy = Arc::new(policy);
        self.breaker()
            .update(|breaker, now| breaker.set_policy(policy, now));
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(self.breaker()).finish()
    }
}
