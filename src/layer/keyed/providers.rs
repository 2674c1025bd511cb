use std::{collections::HashMap, sync::Arc};

use crate::{
    breaker::{LayerId, Permit},
    cache::{HealthCache, Provider},
    layer::reentrancy,
    util::errors::BoxError,
};

/// How many providers a service finds without asking the cache. A handle on one that the cache has
/// forgotten keeps it in memory, so there may not be many of these either.
const CALLED: usize = 256;

/// The providers of one service's calls: those that it has called before are found without a lock.
pub(super) struct Providers {
    cache: HealthCache,
    bound: usize,
    layer: LayerId,
    called: HashMap<Arc<str>, Provider>,
    /// In whose name calls without a key are made.
    nobody: Option<Provider>,
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
            called: HashMap::new(),
            nobody: None,
        }
    }

    pub(super) fn admit(&mut self, key: &str) -> Result<Permit, BoxError> {
        if key.is_empty() {
            return Ok(self.admit_nobody());
        }
        match self.called.get(key) {
            Some(provider) if provider.breaker().touch() => reentrancy::admit(provider, self.layer),
            _ => self.admit_first(key),
        }
    }

    /// Admits the first call to a provider, as far as this service can remember.
    fn admit_first(&mut self, key: &str) -> Result<Permit, BoxError> {
        let provider = self.cache.keyed_provider(key, self.bound);
        let permit = reentrancy::admit(&provider, self.layer);
        // A key that is too long to be an id is not one to keep.
        if provider.id() == key {
            self.remember(provider);
        }
        permit
    }

    fn remember(&mut self, provider: Provider) {
        if self.called.len() >= CALLED {
            self.called.clear();
        }
        self.called
            .insert(Arc::clone(provider.shared_id()), provider);
    }

    fn admit_nobody(&mut self) -> Permit {
        self.nobody
            .get_or_insert_with(|| self.cache.nobody())
            .admit_uncounted()
    }
}

/// By hand: a clone has handles of its own, as they come to be needed.
impl Clone for Providers {
    fn clone(&self) -> Self {
        Self::of_layer(self.layer, self.cache.clone(), self.bound)
    }
}
