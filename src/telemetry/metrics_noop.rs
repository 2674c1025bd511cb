use std::sync::Arc;

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    outcome::{Judged, OutcomeLabel, Reason},
    view::{State, Transition},
};

pub(crate) struct Meters;

impl Meters {
    #[inline]
    pub(crate) fn of(_: &Arc<str>) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn of_keyed() -> Self {
        Self
    }
}

#[derive(Default)]
pub(crate) struct SlotMeters {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl SlotMeters {
    #[inline]
    pub(crate) fn start(&self, _: &Meters, _: impl Fn() -> State) {}

    #[inline]
    pub(crate) fn start_if_none(&self, _: &Meters, _: impl Fn() -> State) {}

    #[inline]
    pub(crate) fn end(&self) {}

    #[inline]
    pub(crate) fn success(&self) {}

    #[inline]
    pub(crate) fn neutral(&self) {}

    #[inline]
    pub(crate) fn judged(&self, _: Judged) {}

    #[inline]
    pub(crate) fn took(&self, _: OutcomeLabel, _: Duration) {}

    #[inline]
    pub(crate) fn refused(&self) {}

    #[inline]
    pub(crate) fn open_for(&self, _: u64) {}

    #[inline]
    pub(crate) fn changed(&self, _: &Transition) {}

    #[inline]
    pub(crate) fn checked(&self, _: &'static str, _: Duration) {}
}

#[derive(Default)]
pub(crate) struct OpenTime {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl OpenTime {
    #[inline]
    pub(crate) fn pass(&mut self, _: State, _: Instant) {}

    #[inline]
    pub(crate) fn take_seconds(&mut self) -> u64 {
        0
    }
}

#[derive(Clone, Default)]
pub(crate) struct Fallbacks {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl Fallbacks {
    #[inline]
    pub(crate) fn count(&self, _: &Arc<str>, _: &Arc<str>, _: &Reason) {}
}

#[inline]
pub(crate) fn chain() {}

#[inline]
pub(crate) fn exhausted() {}

#[cfg(feature = "fleet")]
#[inline]
pub(super) fn fleet_connected(_: bool) {}
