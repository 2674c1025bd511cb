//! The state that survives a reload: above all, the health of all providers.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use reqwest::{Client, redirect};
use tower_health::{BoxError, HealthCache, fleet::FleetHandle, status::StatusService};

use crate::{config::Config, routes::Routes};

/// A running gateway, without a listener.
#[derive(Debug)]
pub struct Gateway {
    path: Option<PathBuf>,
    client: Client,
    pub(crate) cache: HealthCache,
    pub(crate) status: StatusService,
    fleet: Option<FleetHandle>,
    routes: ArcSwap<Routes>,
    reloading: Mutex<()>,
}

impl Gateway {
    /// Starts a gateway whose configuration was read from `path`, where a reload looks for the next. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong.
    pub fn new(config: &Config, path: Option<PathBuf>) -> Result<Arc<Self>, BoxError> {
        // Fails if there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .build()?;
        let cache = HealthCache::default();
        let fleet = config.fleet.as_ref();
        let fleet = fleet.map(|it| it.join(&cache)).transpose()?;
        let routes = Routes::build(config, &cache, fleet.as_ref(), &client)?;
        let state_file = config.server.state_file.as_ref();
        if let Some(saved) = state_file.and_then(|it| fs::read(it).ok()) {
            match serde_json::from_slice(&saved) {
                Ok(snapshot) => {
                    cache.restore(&snapshot);
                    cache.retain(|id| config.names(id));
                }
                Err(error) => tracing::warn!(%error, "state not restored"),
            }
        }
        let mut status = StatusService::new(&cache)
            .title("LLM gateway")
            .redact(!config.server.show_provider_errors);
        if let Some(fleet) = &fleet {
            status = status.fleet(fleet);
        }
        Ok(Arc::new(Self {
            path,
            client,
            cache,
            status,
            fleet,
            routes: ArcSwap::from_pointee(routes),
            reloading: Mutex::default(),
        }))
    }

    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Reads the configuration again. Requests in flight end on the old chains; providers that stay keep their state. The fleet
    /// stays as it is.
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
        let config = Config::read(path)?;
        let routes = Routes::build(&config, &self.cache, self.fleet.as_ref(), &self.client)?;
        self.routes.store(Arc::new(routes));
        Ok(())
    }

    /// Leaves the fleet, and gives its leases back.
    pub(crate) async fn leave_fleet(&self) {
        if let Some(fleet) = &self.fleet {
            fleet.stop().await;
        }
    }

    /// Writes the snapshot for the next process, if a file is configured.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self) -> Result<(), BoxError> {
        if let Some(path) = &self.routes().server.state_file {
            fs::write(path, serde_json::to_vec(&self.cache.snapshot())?)?;
        }
        Ok(())
    }
}
