use tokio::time::Instant;

use super::ticket::{self, Ticket};
use crate::Trials;

/// The trials of one half-open time.
#[derive(Debug)]
pub(super) struct Round {
    /// It began before its time, for one trial only.
    granted: bool,
    /// In the order in which they end.
    slots: Vec<Slot>,
    successes: u32,
}

/// A place of a trial; without a holder it is the pause after a dropped one.
#[derive(Debug)]
struct Slot {
    holder: Option<ticket::Slot>,
    until: Instant,
}

impl Round {
    pub(super) fn new(granted: bool) -> Self {
        Self {
            granted,
            slots: Vec::new(),
            successes: 0,
        }
    }

    /// When a slot is free; `None`: now.
    pub(super) fn frees_at(&self, trials: &Trials) -> Option<Instant> {
        let only_one = self.granted || trials.by_probe_only;
        let at_once = if only_one { 1 } else { trials.at_once };
        let in_excess = self.slots.len().checked_sub(at_once as usize)?;
        Some(self.slots[in_excess].until)
    }

    /// Whether a live call is out that will decide.
    pub(super) fn is_on_trial(&self) -> bool {
        self.slots.iter().any(|slot| slot.holder.is_some())
    }

    pub(super) fn take(&mut self, holder: Option<ticket::Slot>, until: Instant) {
        let place = self.slots.partition_point(|slot| slot.until <= until);
        self.slots.insert(place, Slot { holder, until });
    }

    /// False where the trial had no slot, or no longer.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> bool {
        let is_its_own = |slot: &Slot| ticket.is_trial() && slot.holder == ticket.slot();
        let place = self.slots.iter().position(is_its_own);
        place.map(|place| self.slots.remove(place)).is_some()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.slots.retain(|slot| now < slot.until);
    }

    /// One more; how many there were by now.
    pub(super) fn succeeded(&mut self) -> u32 {
        self.successes += 1;
        self.successes
    }
}
