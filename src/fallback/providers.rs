use std::{fmt, iter, sync::Arc, time::Duration};

use crate::{
    cache::Provider,
    layer::reentrancy::{self, FailingOpen},
    util::errors::{BoxError, find},
    view::{CircuitOpen, ProviderHealth},
};

/// The providers whose layers a chain's entry goes through.
///
/// Mostly that is one [`Provider`]. An array names several, from the outermost layer to the innermost: `[account, model]`. The
/// chain skips the entry while any of them would refuse. The last one gives the entry its name.
#[derive(Clone)]
pub struct Providers {
    own: Provider,
    outer: Arc<[Provider]>,
}

impl From<Provider> for Providers {
    fn from(own: Provider) -> Self {
        Self {
            own,
            outer: Arc::default(),
        }
    }
}

/// The last provider of the pair is the innermost.
impl From<[Provider; 2]> for Providers {
    fn from([outer, own]: [Provider; 2]) -> Self {
        Self {
            own,
            outer: [outer].into(),
        }
    }
}

impl Providers {
    fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.outer.iter().chain(iter::once(&self.own))
    }

    /// Returns the innermost provider.
    pub(super) fn own(&self) -> &Provider {
        &self.own
    }

    #[inline]
    pub(super) fn are_admitting(&self) -> bool {
        reentrancy::is_admitting(&self.own) && self.outer.iter().all(reentrancy::is_admitting)
    }

    /// Returns whether the error is a refusal by the breaker of one of them.
    pub(super) fn have_refused(&self, error: &BoxError) -> bool {
        find::<CircuitOpen>(&**error).is_some_and(|refusal| {
            let is_own = |provider: &Provider| provider.id() == refusal.provider();
            !refusal.is_released() && self.iter().any(is_own)
        })
    }

    /// Returns the time until all of them admit a call.
    pub(super) fn retry_in(&self) -> Duration {
        let waits = self.iter().map(Provider::retry_in);
        waits.max().unwrap_or_default()
    }

    /// Returns the health of the one that refuses for the longest; `None` if all would admit a call.
    pub(super) fn refusing(&self) -> Option<ProviderHealth> {
        let health = self.iter().map(Provider::health);
        let refusing = health.filter(|health| !health.healthy);
        refusing.max_by_key(|health| health.retry_in)
    }

    /// Grants a trial to each that refuses. Returns whether all now admit a call.
    pub(super) fn grant_trial(&self) -> bool {
        self.iter()
            .all(|provider| provider.is_healthy() || provider.grant_trial())
    }

    /// Returns whether the chain may fail open: only the innermost refuses, and only because of failures.
    pub(super) fn may_fail_open(&self) -> bool {
        self.outer.iter().all(Provider::is_healthy) && self.own.may_fail_open()
    }

    pub(super) fn fail_open(&self) -> FailingOpen {
        FailingOpen::enter(&self.own)
    }

    /// Waits until all would admit a call.
    pub(super) async fn until_admit(self) {
        while let Some(refusing) = self.iter().find(|provider| !provider.is_healthy()) {
            refusing.until_admits().await;
        }
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
