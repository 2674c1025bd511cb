use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::layer_id::LayerId;
use crate::breaker::ticket::{Ticket, Trial};

/// The trial slots in use.
///
/// A slot stays in use after its half-open phase has ended, because the trial may still be in flight.
#[derive(Debug, Default)]
// Boxed, because most providers have no trial.
pub(super) struct Slots(Option<Box<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// Sorted by deadline, at which the slot becomes free even if the trial has not ended.
    slots: BTreeSet<(Instant, Holder)>,
    /// Trials in flight, with the slot's deadline and the trial's layer. A slot without a trial is paused: its trial was dropped.
    trials: BTreeMap<Holder, (Instant, LayerId)>,
}

/// The epoch in which the slot was taken, and the trial that took it.
type Holder = (u64, Trial);

impl Slots {
    /// The time at which one of `at_once` slots is free; `None` if one is free now.
    pub(super) fn frees_at(&self, at_once: usize) -> Option<Instant> {
        let slots = &self.0.as_ref()?.slots;
        let in_excess = slots.len().checked_sub(at_once)?;
        // Counts from the nearer end, to visit few slots.
        let slot = if in_excess < at_once {
            slots.iter().nth(in_excess)
        } else {
            slots.iter().nth_back(at_once - 1)
        };
        slot.map(|(until, _)| *until)
    }

    /// Number of slots in use, by trials in flight and by pauses.
    pub(super) fn in_use(&self) -> usize {
        self.0.as_ref().map_or(0, |taken| taken.slots.len())
    }

    /// Returns whether a trial of this epoch is in flight.
    pub(super) fn has_trial_of(&self, epoch: u64) -> bool {
        self.0.as_ref().is_some_and(|taken| {
            let mut trials = taken.trials.range((epoch, Trial::FIRST)..);
            trials.next().is_some_and(|((of, _), _)| *of == epoch)
        })
    }

    /// Returns whether this trial is in flight.
    pub(super) fn has(&self, epoch: u64, trial: Trial) -> bool {
        let taken = self.0.as_ref();
        taken.is_some_and(|taken| taken.trials.contains_key(&(epoch, trial)))
    }

    /// The trial's layer; `None` if the trial never had a slot, or has lost it.
    pub(super) fn layer_of(&self, ticket: Ticket) -> Option<LayerId> {
        let holder = (ticket.epoch(), ticket.trial()?);
        let trial = self.0.as_ref()?.trials.get(&holder);
        trial.map(|(_, layer)| *layer)
    }

    pub(super) fn take(&mut self, epoch: u64, trial: Trial, until: Instant, layer: LayerId) {
        let taken = self.0.get_or_insert_default();
        taken.slots.insert((until, (epoch, trial)));
        taken.trials.insert((epoch, trial), (until, layer));
    }

    /// Keeps a slot in use until `until`, although its trial has given it back.
    pub(super) fn pause(&mut self, holder: Holder, until: Instant) {
        let taken = self.0.get_or_insert_default();
        taken.slots.insert((until, holder));
    }

    /// Frees a trial's slot and returns its holder; `None` if the trial never had a slot, or has lost it.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> Option<Holder> {
        let holder = (ticket.epoch(), ticket.trial()?);
        let taken = self.0.as_mut()?;
        let (until, _) = taken.trials.remove(&holder)?;
        taken.slots.remove(&(until, holder));
        self.tidy();
        Some(holder)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let Some(taken) = &mut self.0 else {
            return;
        };
        while let Some(slot) = taken.slots.first().filter(|(until, _)| *until <= now) {
            let holder = slot.1;
            taken.slots.pop_first();
            taken.trials.remove(&holder);
        }
        self.tidy();
    }

    /// Frees the paused slots: a pause limits calls only within one half-open phase.
    pub(super) fn end_pauses(&mut self) {
        let Some(Taken { slots, trials }) = self.0.as_deref_mut() else {
            return;
        };
        if slots.len() > trials.len() {
            slots.retain(|(_, holder)| trials.contains_key(holder));
        }
        self.tidy();
    }

    /// Frees the box if no slot is in use.
    fn tidy(&mut self) {
        self.0.take_if(|taken| taken.slots.is_empty());
    }
}
