use std::sync::Arc;

use tokio::time::Instant;

use super::Duration;
use crate::{Reason, State, Transition, breaker::Judged, probe::CheckEnd};

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
pub(crate) struct MetersOfSign {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl MetersOfSign {
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
    pub(crate) fn refused(&self) {}

    #[inline]
    pub(crate) fn open_for(&self, _: u64) {}

    #[inline]
    pub(crate) fn changed(&self, _: &Transition) {}

    #[inline]
    pub(crate) fn checked(&self, _: &CheckEnd, _: Duration) {}
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
