use std::{fmt, sync::Arc, time::Duration};

use super::rule::UnhealthyWhen;
use crate::{
    cache::{HealthCache, Snapshot},
    outcome::Reason,
    view::{Cause, Transition},
};

/// The settings of a [`StatusService`](super::StatusService).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) title: Arc<str>,
    pub(super) expected: Vec<Arc<str>>,
    pub(super) is_redacted: bool,
    pub(super) unhealthy_when: UnhealthyWhen,
    pub(super) refresh: Duration,
    pub(super) control_at: Option<Arc<str>>,
    /// Returns what the fleet shares, as JSON.
    pub(super) fleet: Option<FleetJson>,
}

/// A closure, so that this module is the same without the feature `fleet`. Its argument is whether to redact.
#[derive(Clone)]
#[cfg_attr(not(feature = "fleet"), allow(dead_code))]
pub(super) struct FleetJson(pub(super) Arc<dyn Fn(bool) -> Vec<u8> + Send + Sync>);

impl fmt::Debug for FleetJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetJson").finish_non_exhaustive()
    }
}

impl Settings {
    /// Returns what the fleet shares, as JSON, if there is one.
    pub(super) fn fleet(&self) -> Option<Vec<u8>> {
        let fleet = self.fleet.as_ref()?;
        Some((fleet.0)(self.is_redacted))
    }

    pub(super) fn snapshot(&self, cache: &HealthCache) -> Snapshot {
        let mut snapshot = cache.snapshot_of(self.expected.iter().map(Arc::clone));
        if self.is_redacted {
            for row in &mut snapshot.providers {
                redact(row.cause, &mut row.reason);
                redact(None, &mut row.last_error);
            }
        }
        snapshot
    }

    pub(super) fn transition(&self, mut transition: Transition) -> Transition {
        if self.is_redacted {
            redact(transition.cause, &mut transition.reason);
        }
        transition
    }
}

/// Replaces a reason by its label. Removes an operator's reason, which is free text without a label.
fn redact(cause: Option<Cause>, reason: &mut Option<Reason>) {
    *reason = reason
        .take()
        .filter(|_| cause != Some(Cause::Forced))
        .map(|reason| Reason::display(reason.label()));
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            title: "Provider health".into(),
            expected: Vec::new(),
            is_redacted: false,
            unhealthy_when: UnhealthyWhen::default(),
            refresh: Duration::from_secs(5),
            control_at: None,
            fleet: None,
        }
    }
}
