use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// What a permit remembers of its admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    epoch: u64,
    slot: Option<NonZeroU32>,
    started: Option<Instant>,
    /// Whether the answer was too long in coming; unknown until it comes. A byte that costs nothing,
    /// where a time would make every permit larger.
    was_slow: Option<bool>,
}

impl Ticket {
    /// A ticket whose verdict is always late, for no epoch is ever this one: that of a call which is
    /// made although the state machine refused it, and what is left of a ticket after its verdict.
    pub(crate) const VOID: Self = Self {
        epoch: u64::MAX,
        slot: None,
        started: None,
        was_slow: None,
    };

    pub(crate) fn live(epoch: u64, started: Option<Instant>) -> Self {
        Self {
            epoch,
            slot: None,
            started,
            was_slow: None,
        }
    }

    pub(super) fn of_trial(self, slot: NonZeroU32) -> Self {
        Self {
            slot: Some(slot),
            ..self
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn slot(&self) -> Option<NonZeroU32> {
        self.slot
    }

    pub(crate) fn is_trial(&self) -> bool {
        self.slot.is_some()
    }

    /// Whether dropping the permit can change anything.
    pub(crate) fn minds_drop(&self) -> bool {
        self.slot.is_some() || self.started.is_some()
    }

    /// Whether the beginning of an answer can change anything.
    pub(crate) fn minds_answer(&self) -> bool {
        self.minds_drop() && self.was_slow.is_none()
    }

    /// The answer has begun: from now on it is known whether it was too long in coming.
    pub(super) fn answered(&mut self, limit: Option<Duration>, now: Instant) {
        self.was_slow = Some(self.was_slow(limit, now));
    }

    pub(super) fn was_slow(&self, limit: Option<Duration>, now: Instant) -> bool {
        self.was_slow
            .unwrap_or_else(|| self.has_run_for(limit, now))
    }

    pub(super) fn has_run_for(&self, limit: Option<Duration>, now: Instant) -> bool {
        match (self.started, limit) {
            (Some(started), Some(limit)) => now - started >= limit,
            _ => false,
        }
    }
}
