//! `gateway.toml`, which documents the settings.

use std::{
    collections::BTreeMap,
    env,
    fmt::{self, Display},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderValue;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeSeed};
use toml::Table;
use tower_health::{
    BoxError, ChainOptions, HealthCache, Policy,
    fleet::{self, FleetHandle, Share},
};
use tower_health_redis::RedisStore;

use crate::upstream::{Upstream, classifier};

/// A configuration, with the API keys that it refers to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub(crate) server: Server,
    pub(crate) fleet: Option<Fleet>,
    limits: Table,
    #[serde(default)]
    pub(crate) chain: ChainOptions,
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    pub(crate) account: Policy,
    providers: BTreeMap<String, Provider>,
    pub(crate) aliases: BTreeMap<String, Vec<Target>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_token_env: Option<Bearer>,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) shutdown_limit: Limit,
    pub(crate) longest_retry_after: Limit,
    #[serde(default)]
    pub(crate) show_provider_errors: bool,
}

/// The replicas of this gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    url: StoreUrl,
    prefix: Option<String>,
    replica: Option<String>,
    #[serde(default)]
    share: Share,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) base_url: Url,
    pub(crate) key_env: Option<Bearer>,
    pub(crate) check: Option<Check>,
    /// Settings that override the limits of all providers.
    #[serde(default)]
    limits: Table,
    #[serde(default)]
    policy: Table,
    #[serde(default)]
    classifier: Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) path: String,
    pub(crate) interval: Limit,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) head: Limit,
    pub(crate) first_token: Limit,
    pub(crate) idle: Limit,
    pub(crate) answer: Limit,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) longest_prompt: Option<usize>,
    pub(crate) stream: Option<bool>,
}

impl Config {
    /// Reads a file. It is checked as a whole, so that a wrong one changes nothing.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong.
    pub fn read(path: &Path) -> Result<Self, BoxError> {
        named(path.display(), fs::read_to_string(path))?.parse()
    }

    /// Returns the address to listen on.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.server.listen
    }

    /// Returns the providers that the aliases name.
    pub(crate) fn upstreams(&self) -> Result<BTreeMap<&str, Arc<Upstream>>, BoxError> {
        for (alias, targets) in &self.aliases {
            if targets.is_empty() {
                return Err(format!("aliases.{alias}: needs a target").into());
            }
            let is_unknown = |it: &&Target| !self.providers.contains_key(&it.provider);
            if let Some(Target { provider, .. }) = targets.iter().find(is_unknown) {
                return Err(format!("aliases.{alias}: unknown provider `{provider}`").into());
            }
        }
        let _: Limits = named("limits", self.limits.clone().try_into())?;
        let upstreams = self.providers.iter().map(|(name, provider)| {
            let upstream = self.upstream(name, provider);
            let upstream = upstream.map_err(|error| format!("providers.{name}.{error}"))?;
            Ok((&**name, Arc::new(upstream)))
        });
        upstreams.collect()
    }

    /// Returns whether this is the id of an account or of a model.
    pub(crate) fn names(&self, id: &str) -> bool {
        let mut targets = self.aliases.values().flatten();
        self.providers.contains_key(id) || targets.any(|it| it.id() == id)
    }

    fn upstream(&self, name: &str, provider: &Provider) -> Result<Upstream, BoxError> {
        if !["http", "https"].contains(&provider.base_url.scheme()) {
            return Err("base_url: must begin with http:// or https://".into());
        }
        let mut limits = self.limits.clone();
        limits.extend(provider.limits.clone());
        let limits: Limits = named("limits", limits.try_into())?;
        let classifier = classifier().idle_timeout(limits.idle.0);
        let classifier = classifier.deserialize(provider.classifier.clone());
        let policy = self.policy.deserialize(provider.policy.clone());
        Ok(Upstream {
            name: name.into(),
            provider: provider.clone(),
            limits,
            classifier: named("classifier", classifier)?,
            policy: named("policy", policy)?,
        })
    }
}

impl Fleet {
    /// Shares the health of the cache with the other replicas, as long as the handle lives.
    pub(crate) fn join(&self, cache: &HealthCache) -> Result<FleetHandle, BoxError> {
        let store = named("fleet.url", RedisStore::open(&*self.url.0))?;
        let store = match &self.prefix {
            Some(prefix) => store.prefix(prefix),
            None => store.prefix("gateway"),
        };
        let fleet = fleet::Fleet::new(cache, store).share(self.share);
        let fleet = fleet.share_health(true).share_overrides(true);
        let fleet = match &self.replica {
            Some(name) => fleet.replica(&**name),
            None => fleet,
        };
        Ok(fleet.spawn())
    }
}

impl FromStr for Config {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        Ok(toml::from_str(text)?)
    }
}

fn named<T, E: Display>(setting: impl Display, read: Result<T, E>) -> Result<T, BoxError> {
    read.map_err(|error| format!("{setting}: {}", error.to_string().trim_end()).into())
}

impl Target {
    /// The id of the model's breaker.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// A duration longer than zero.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Limit(pub(crate) Duration);

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let duration = humantime::parse_duration(&text)
            .ok()
            .filter(|it| !it.is_zero());
        let must =
            || format!("must be longer than zero, with a unit, such as \"60s\", got {text:?}");
        duration.map(Self).ok_or_else(must)
    }
}

/// The URL of Redis, which can contain a password. `Debug` does not print it.
#[derive(Deserialize)]
struct StoreUrl(String);

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreUrl")
    }
}

/// An `Authorization` with a key from the environment. `Debug` does not print it.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Bearer(pub(crate) HeaderValue);

impl TryFrom<String> for Bearer {
    type Error = String;

    fn try_from(variable: String) -> Result<Self, String> {
        let key = env::var(&variable).ok().filter(|key| !key.is_empty());
        let bearer = key.and_then(|key| HeaderValue::try_from(format!("Bearer {key}")).ok());
        // Without the error, which can contain the key.
        let mut bearer =
            bearer.ok_or_else(|| format!("{variable} must be set, to visible ASCII"))?;
        bearer.set_sensitive(true);
        Ok(Self(bearer))
    }
}
