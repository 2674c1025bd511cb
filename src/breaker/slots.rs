use tokio::time::Instant;

use super::ticket::{Ticket, Trial};

/// The trials that are in flight, in the order in which their leases end.
///
/// A slot outlives the half-open time in which it was taken: a trial that hangs is in flight to the provider
/// for as long, whatever the others have decided meanwhile.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Slot>);

/// A place of a trial; without a holder it is the pause after a dropped one.
#[derive(Debug)]
struct Slot {
    holder: Option<Trial>,
    epoch: u64,
    until: Instant,
}

impl Slots {
    /// When one of `at_once` is free; `None`: now.
    pub(super) fn frees_at(&self, at_once: u32) -> Option<Instant> {
        let in_excess = self.0.len().checked_sub(at_once as usize)?;
        Some(self.0[in_excess].until)
    }

    /// Whether a live call is out that will decide.
    pub(super) fn has_trial_of(&self, epoch: u64) -> bool {
        let is_on_trial = |slot: &Slot| slot.holder.is_some() && slot.epoch == epoch;
        self.0.iter().any(is_on_trial)
    }

    pub(super) fn take(&mut self, holder: Trial, epoch: u64, until: Instant) {
        self.insert(Some(holder), epoch, until);
    }

    pub(super) fn pause(&mut self, epoch: u64, until: Instant) {
        self.insert(None, epoch, until);
    }

    fn insert(&mut self, holder: Option<Trial>, epoch: u64, until: Instant) {
        let place = self.0.partition_point(|slot| slot.until <= until);
        self.0.insert(
            place,
            Slot {
                holder,
                epoch,
                until,
            },
        );
    }

    /// False where the trial had no slot, or no longer.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> bool {
        let is_its_own = |slot: &Slot| {
            ticket.is_trial() && slot.holder == ticket.trial() && ticket.is_of(slot.epoch)
        };
        let place = self.0.iter().position(is_its_own);
        place.map(|place| self.0.remove(place)).is_some()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|slot| now < slot.until);
    }

    /// A half-open time is over; nobody who gave up in it can hammer any more.
    pub(super) fn end_pauses(&mut self) {
        self.0.retain(|slot| slot.holder.is_some());
    }
}
