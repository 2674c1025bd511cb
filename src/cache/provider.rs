use std::{fmt, sync::Arc, time::Duration};

use crate::{
    breaker::{Breaker, LayerId, Permit, SharedBreaker, Ticket},
    outcome::Reason,
    policy::Policy,
    view::{CircuitOpen, Override, ProviderHealth},
};

/// One thing that can be ill on its own, and its circuit breaker: a host, a model, a shard.
///
/// A cheap handle; all handles of one id of one [`HealthCache`](crate::HealthCache) see one breaker.
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

    /// The name that it was asked for by.
    #[must_use]
    pub fn id(&self) -> &str {
        self.shared_id()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        self.breaker().id()
    }

    /// Asks to make one call.
    ///
    /// # Errors
    ///
    /// [`CircuitOpen`] while the breaker is open, or half-open with every trial's slot taken.
    #[inline]
    pub fn admit(&self) -> Result<Permit, CircuitOpen> {
        self.admit_to(LayerId::NONE)
    }

    /// As [`admit`](Self::admit), of a call through a layer.
    #[inline]
    pub(crate) fn admit_to(&self, layer: LayerId) -> Result<Permit, CircuitOpen> {
        let ticket = self.breaker().admit(layer)?;
        Ok(Permit::new(self.breaker().hot_slot(), ticket))
    }

    /// Admits a call that another permit judges, or none.
    pub(crate) fn admit_uncounted(&self) -> Permit {
        let hot_slot = self.breaker().hot_slot();
        Permit::new(hot_slot, Ticket::judged_elsewhere(hot_slot.state().epoch()))
    }

    /// Admits a call that a chain makes although the breaker may refuse it: as a trial where one can be granted, otherwise
    /// uncounted.
    pub(crate) fn admit_overridden(&self, layer: LayerId) -> Result<Permit, CircuitOpen> {
        let ticket = self.breaker().admit_overridden(layer)?;
        Ok(Permit::new(self.breaker().hot_slot(), ticket))
    }

    /// Whether a chain may override the breaker: it admits calls, or refuses them because of failures alone.
    pub(crate) fn may_fail_open(&self) -> bool {
        self.breaker().look(|breaker, now| {
            breaker.retry_in(now).is_none() || breaker.refuses_for_failures(now)
        })
    }

    /// Whether a call now would be admitted.
    #[inline]
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.breaker().is_healthy()
    }

    /// All that is known of its health, as a copy.
    #[must_use]
    pub fn health(&self) -> ProviderHealth {
        self.breaker().health()
    }

    /// Closes the breaker and forgets all that was heard against the provider.
    ///
    /// An operator's [`force`](Self::force) stands.
    pub fn mark_healthy(&self) {
        self.breaker().update(Breaker::mark_healthy);
    }

    /// Counts as a failed call; while the breaker is open it moves the deadline to a full backoff
    /// from now, within [`Backoff::max_hold`](crate::Backoff::max_hold).
    pub fn mark_unhealthy(&self, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker()
            .update(|breaker, now| breaker.mark_unhealthy(reason, now));
    }

    /// Ends an open window's wait so that one trial is admitted now. False, and nothing is changed,
    /// where the provider [named a time](crate::Outcome::Throttled) that has not come, the state is
    /// [forced](Self::force) or not open, [no live call may be a trial](crate::Trials::by_probe_only),
    /// one is still in flight, or one was granted less than a second ago.
    #[must_use = "false means that no trial was granted"]
    pub fn grant_trial(&self) -> bool {
        self.breaker().update(Breaker::grant_trial)
    }

    /// Holds the breaker open or closed, whatever happens, until `ttl` has passed or
    /// [`unforce`](Self::unforce) is called.
    ///
    /// Verdicts are counted underneath; a call that only the override admitted does not count.
    pub fn force(&self, to: Override, ttl: Duration, reason: impl Into<Reason>) {
        let reason = reason.into();
        self.breaker()
            .update(|breaker, now| breaker.force(to, ttl, reason, now));
    }

    /// Ends a [`force`](Self::force), if there is one.
    pub fn unforce(&self) {
        self.breaker().update(Breaker::unforce);
    }

    /// The rules in force.
    pub fn policy(&self) -> Policy {
        self.breaker()
            .look(|breaker, _| Policy::clone(breaker.policy()))
    }

    /// Gives the provider rules of its own and keeps its state: an open window ends when it would have.
    ///
    /// From now on it no longer follows [`HealthCache::set_policy`](crate::HealthCache::set_policy).
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
