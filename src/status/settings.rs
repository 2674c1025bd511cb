use std::{sync::Arc, time::Duration};

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
}

impl Settings {
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
        }
    }
}
