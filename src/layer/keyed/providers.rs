use std::{collections::HashMap, sync::Arc};

use crate::{
    breaker::{LayerId, Permit},
    cache::{HealthCache, Provider},
    layer::reentrancy,
    util::errors::BoxError,
};

/// Maximum number of handles per service. A handle keeps an evicted provider in memory, so their number is limited too.
const MAX_HANDLES: usize = 256;

/// The providers that one service calls. Those that it has called before are found without a lock.
pub(super) struct Providers {
    cache: HealthCache,
    bound: usize,
    layer: LayerId,
    handles: HashMap<Arc<str>, Provider>,
    /// The placeholder provider of calls without a key.
    unguarded: Option<Provider>,
}

impl Providers {
    pub(super) fn new(cache: HealthCache, bound: usize) -> Self {
        Self::of_layer(LayerId::new(), cache, bound)
    }

    fn of_layer(layer: LayerId, cache: HealthCache, bound: usize) -> Self {
        Self {
            cache,
            bound,
            layer,
            handles: HashMap::new(),
            unguarded: None,
        }
    }

    pub(super) fn admit(&mut self, key: &str) -> Result<Permit, BoxError> {
        if key.is_empty() {
            return Ok(self.admit_unguarded());
        }
        match self.handles.get(key) {
            Some(provider) if provider.touch() => reentrancy::admit(provider, self.layer),
            _ => self.admit_without_handle(key),
        }
    }

    /// Admits a call to a provider for which this service has no handle.
    fn admit_without_handle(&mut self, key: &str) -> Result<Permit, BoxError> {
        let provider = self.cache.keyed_provider(key, self.bound);
        let permit = reentrancy::admit(&provider, self.layer);
        // A long key differs from its provider's id, so a lookup by key would never find the handle.
        if provider.id() == key {
            self.keep(provider);
        }
        permit
    }

    fn keep(&mut self, provider: Provider) {
        if self.handles.len() >= MAX_HANDLES {
            self.handles.clear();
        }
        self.handles
            .insert(Arc::clone(provider.shared_id()), provider);
    }

    fn admit_unguarded(&mut self) -> Permit {
        self.unguarded
            .get_or_insert_with(|| self.cache.nobody())
            .admit_uncounted()
    }
}

/// Not derived: a clone starts without handles.
impl Clone for Providers {
    fn clone(&self) -> Self {
        Self::of_layer(self.layer, self.cache.clone(), self.bound)
    }
}
