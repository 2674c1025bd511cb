use std::{sync::Arc, time::Duration};

use crate::{
    outcome::Reason,
    view::{CircuitOpen, Transition},
};

#[inline]
pub(crate) fn changed(_: &Transition) {}

#[inline]
pub(crate) fn attempted(_: &Arc<str>, _: &Reason, _: Duration) {}

#[cfg(feature = "fleet")]
#[inline]
pub(super) fn fleet_connected(_: &str) {}

#[cfg(feature = "fleet")]
#[inline]
pub(super) fn fleet_disconnected(_: &str, _: &Reason) {}

#[cfg(feature = "fleet")]
#[inline]
pub(super) fn fleet_entry_ignored(_: &str, _: &str) {}

#[derive(Default)]
pub(crate) struct Refusals {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl Refusals {
    #[inline]
    pub(crate) fn refused(&self, _: &CircuitOpen) {}
}

#[derive(Clone)]
pub(crate) struct AttemptSpan {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl AttemptSpan {
    #[inline]
    pub(crate) fn start(_: &Arc<str>, _: impl FnOnce() -> usize) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn enter(&self) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn is_recorded(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn failed(&self, _: &Reason) {}
}
