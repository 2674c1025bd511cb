//! The gateway's state: the health of all providers, which stays, and the routes, which a reload replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use reqwest::Client;
use tower_health::{
    BoxError, FallbackChain, HealthCache, HealthProbe, ProbeHandle, status::StatusService,
};

use crate::{
    call::{Call, is_for},
    config::{Config, Server},
    upstream::{Stack, classifier},
};

/// A gateway that can be served.
#[derive(Debug)]
pub struct Gateway {
    path: Option<PathBuf>,
    client: Client,
    pub(crate) cache: HealthCache,
    pub(crate) status: StatusService,
    routes: ArcSwap<Routes>,
    reloading: Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) server: Server,
    pub(crate) admin_bearer: Option<HeaderValue>,
    pub(crate) aliases: BTreeMap<String, Stack>,
    /// Dropped with the routes, which ends it.
    _probe: ProbeHandle,
}

impl Gateway {
    /// Starts a gateway whose configuration was read from `path`, where a reload looks for the next. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong.
    pub fn new(config: &Config, path: Option<PathBuf>) -> Result<Arc<Self>, BoxError> {
        // An error means that there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let cache = HealthCache::default();
        let routes = Routes::build(config, &cache, &client)?;
        if let Some(saved) = config
            .server
            .state_file
            .as_ref()
            .and_then(|it| fs::read(it).ok())
        {
            match serde_json::from_slice(&saved) {
                Ok(snapshot) => cache.restore(&snapshot),
                Err(error) => tracing::warn!(%error, "state not restored"),
            }
        }
        let status = StatusService::new(&cache)
            .title("LLM gateway")
            .redact(!config.server.show_provider_errors);
        Ok(Arc::new(Self {
            path,
            client,
            cache,
            status,
            routes: ArcSwap::from_pointee(routes),
            reloading: Mutex::default(),
        }))
    }

    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Reads the configuration again. Requests in flight end on the old chains; providers that stay keep their state.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong. The old configuration then stays.
    pub fn reload(&self) -> Result<(), BoxError> {
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let path = self
            .path
            .as_ref()
            .ok_or("the configuration is not from a file")?;
        let routes = Routes::build(&Config::read(path)?, &self.cache, &self.client)?;
        self.routes.store(Arc::new(routes));
        Ok(())
    }

    /// Writes what is open, for the next process.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn save(&self) -> Result<(), BoxError> {
        if let Some(path) = &self.routes().server.state_file {
            fs::write(path, serde_json::to_vec(&self.cache.snapshot())?)?;
        }
        Ok(())
    }
}

impl Routes {
    fn build(config: &Config, cache: &HealthCache, client: &Client) -> Result<Self, BoxError> {
        // All errors come before the first change.
        let upstreams = config.upstreams()?;
        let admin_bearer = config.server.admin_bearer()?;

        let mut ids = BTreeSet::new();
        let mut probe = HealthProbe::new(cache);
        for upstream in upstreams.values() {
            cache
                .provider(&*upstream.name)
                .set_policy(config.account.clone());
            probe = upstream.checked_by(probe, client);
            ids.insert(upstream.name.clone());
        }
        let chains = config.aliases.iter().map(|(alias, targets)| {
            let mut chain = FallbackChain::new()
                .advance(classifier())
                .options(&config.chain);
            for target in targets {
                let upstream = &upstreams[&*target.provider];
                let account = cache.provider(&*upstream.name);
                let model = cache.provider(format!("{}/{}", upstream.name, target.model));
                model.set_policy(upstream.policy.clone());
                ids.insert(model.id().to_owned());
                let stack = Arc::clone(upstream).stack(&account, &model, &target.model, client);
                let target = target.clone();
                let is_for = move |call: &Call| is_for(&target, call);
                chain = chain.entry_if([account, model], stack, is_for);
            }
            (alias.clone(), Stack::new(chain))
        });
        let aliases = chains.collect();
        for gone in cache
            .snapshot()
            .providers
            .iter()
            .filter(|it| !ids.contains(&*it.id))
        {
            cache.remove(&gone.id);
        }
        Ok(Self {
            server: config.server.clone(),
            admin_bearer,
            aliases,
            _probe: probe.spawn(),
        })
    }
}
