//! A chain for each alias, over the breakers of the cache.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::Client;
use tower_health::{
    BoxError, FallbackChain, HealthCache, HealthProbe, ProbeHandle, fleet::FleetHandle,
};

use crate::{
    call::{Call, is_for},
    config::{Config, Server},
    upstream::{Stack, classifier},
};

#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) server: Server,
    pub(crate) aliases: BTreeMap<String, Stack>,
    /// The probe ends when the routes are dropped.
    _probe: ProbeHandle,
}

impl Routes {
    /// Builds the routes. After an error nothing has changed.
    pub(crate) fn build(
        config: &Config,
        cache: &HealthCache,
        fleet: Option<&FleetHandle>,
        client: &Client,
    ) -> Result<Self, BoxError> {
        let upstreams = config.upstreams()?;
        let mut probe = HealthProbe::new(cache);
        if let Some(fleet) = fleet {
            probe = probe.fleet(fleet);
        }
        for upstream in upstreams.values() {
            let account = cache.provider(&*upstream.name);
            account.set_policy(config.account.clone());
            probe = upstream.checked_by(probe, client);
        }
        let chains = config.aliases.iter().map(|(alias, targets)| {
            let mut chain = FallbackChain::new()
                .named(&**alias)
                .advance(classifier())
                .options(&config.chain);
            for target in targets {
                let upstream = Arc::clone(&upstreams[&*target.provider]);
                let account = cache.provider(&*upstream.name);
                let model = cache.provider(target.id());
                model.set_policy(upstream.policy.clone());
                let stack = upstream.stack(&account, &model, &target.model, client);
                let target = target.clone();
                let is_for = move |call: &Call| is_for(&target, call);
                chain = chain.entry_if([account, model], stack, is_for);
            }
            (alias.clone(), Stack::new(chain))
        });
        let aliases = chains.collect();
        cache.retain(|id| config.names(id));
        Ok(Self {
            server: config.server.clone(),
            aliases,
            _probe: probe.spawn(),
        })
    }
}
