use tokio::time::Instant;

use super::{layer_id::LayerId, slots::Slots};
use crate::breaker::ticket::{Ticket, Trial};

/// Maximum number of outer layers per breaker; the oldest is dropped first.
const MOST: usize = 16;

/// The outer layers. An outer layer has an inner layer of the same provider that runs in another task.
///
/// If an outer layer took a trial slot, the breaker would refuse the inner layer. So the outer layer takes a *passage* instead,
/// which leaves the slot to the inner layer. Each outer layer has as many passages as there are trial slots.
#[derive(Debug, Default)]
pub(super) struct Outer(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    layers: Vec<(LayerId, Slots)>,
}

impl Outer {
    pub(super) fn add(&mut self, layer: LayerId) {
        if self.passages(layer).is_some() {
            return;
        }
        let layers = &mut self.0.get_or_insert_default().layers;
        if layers.len() == MOST {
            layers.remove(0);
        }
        layers.push((layer, Slots::default()));
    }

    /// The passages of a layer, if it is an outer layer.
    pub(super) fn passages(&mut self, layer: LayerId) -> Option<&mut Slots> {
        let layers = &mut self.0.as_mut()?.layers;
        let known = layers.iter_mut().find(|(known, _)| *known == layer);
        known.map(|(_, passages)| passages)
    }

    /// Returns whether a passage in flight has this number.
    pub(super) fn has(&self, epoch: u64, trial: Trial) -> bool {
        let mut layers = self.0.iter().flat_map(|known| &known.layers);
        layers.any(|(_, passages)| passages.has(epoch, trial))
    }

    pub(super) fn give_back(&mut self, ticket: Ticket) {
        for passages in self.all() {
            let _ = passages.give_back(ticket);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        for passages in self.all() {
            passages.expire(now);
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Slots> {
        let layers = self.0.iter_mut().flat_map(|known| &mut known.layers);
        layers.map(|(_, passages)| passages)
    }
}
