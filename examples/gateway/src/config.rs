//! `gateway.toml`, which documents the settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Display,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderValue;
use reqwest::Url;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _},
};
use tower_health::{BoxError, ChainOptions, Policy};

use crate::upstream::{Upstream, classifier};

/// A configuration that was read, but not yet resolved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub(crate) server: Server,
    #[serde(default)]
    limits: Limits,
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
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    admin_token_env: Option<String>,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) shutdown_limit: Limit,
    pub(crate) longest_retry_after: Limit,
    pub(crate) show_provider_errors: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) head: Limit,
    pub(crate) first_token: Limit,
    pub(crate) idle: Limit,
    pub(crate) answer: Limit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    base_url: String,
    key_env: Option<String>,
    check: Option<Check>,
    limits: Option<Limits>,
    #[serde(default)]
    policy: toml::Table,
    #[serde(default)]
    classifier: toml::Table,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) path: String,
    pub(crate) interval: Limit,
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
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        text.parse()
    }

    /// Returns the address to listen on.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.server.listen
    }

    /// Resolves everything that can be wrong, keys of the environment included.
    pub(crate) fn upstreams(&self) -> Result<BTreeMap<&str, Arc<Upstream>>, BoxError> {
        let upstreams = self.providers.iter().map(|(name, provider)| {
            let upstream = self.upstream(name, provider);
            let upstream = upstream.map_err(|error| format!("providers.{name}.{error}"))?;
            Ok((&**name, Arc::new(upstream)))
        });
        let upstreams: BTreeMap<_, _> = upstreams.collect::<Result<_, BoxError>>()?;
        for (alias, targets) in &self.aliases {
            let mut seen = BTreeSet::new();
            for Target {
                provider, model, ..
            } in targets
            {
                if !upstreams.contains_key(&**provider) {
                    return Err(format!("aliases.{alias}: unknown provider `{provider}`").into());
                }
                if !seen.insert((provider, model)) {
                    return Err(format!("aliases.{alias}: `{provider}/{model}` twice").into());
                }
            }
        }
        Ok(upstreams)
    }

    fn upstream(&self, name: &str, provider: &Provider) -> Result<Upstream, BoxError> {
        let base_url = named("base_url", Url::parse(&provider.base_url))?;
        let limits = provider.limits.unwrap_or(self.limits);
        let classifier = classifier().idle_timeout(limits.idle.0);
        let classifier = classifier.deserialize(provider.classifier.clone());
        let policy = self.policy.deserialize(provider.policy.clone());
        Ok(Upstream {
            name: name.into(),
            base_url: base_url.as_str().trim_end_matches('/').into(),
            bearer: named("key_env", bearer(provider.key_env.as_deref()))?,
            limits,
            classifier: named("classifier", classifier)?,
            policy: named("policy", policy)?,
            check: provider.check.clone(),
        })
    }
}

impl Server {
    /// What operators send in `Authorization`. Without it, nobody is an operator.
    pub(crate) fn admin_bearer(&self) -> Result<Option<HeaderValue>, BoxError> {
        let bearer = bearer(self.admin_token_env.as_deref());
        named("server.admin_token_env", bearer)
    }
}

fn named<T, E: Display>(setting: &str, read: Result<T, E>) -> Result<T, BoxError> {
    read.map_err(|error| format!("{setting}: {}", error.to_string().trim_end()).into())
}

/// Reads a key from the environment, into a value that `Debug` does not print.
fn bearer(variable: Option<&str>) -> Result<Option<HeaderValue>, String> {
    let Some(variable) = variable else {
        return Ok(None);
    };
    let key = env::var(variable).map_err(|error| format!("{variable}: {error}"))?;
    let bearer = HeaderValue::try_from(format!("Bearer {key}"));
    let mut bearer = bearer.map_err(|_| format!("{variable}: must be visible ASCII"))?;
    bearer.set_sensitive(true);
    Ok(Some(bearer))
}

impl FromStr for Config {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        Ok(toml::from_str(text)?)
    }
}

/// A duration longer than zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(pub(crate) Duration);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text).ok();
        let duration = duration.filter(|duration| !duration.is_zero());
        let must =
            || format!("must be longer than zero, with a unit, such as \"60s\", got {text:?}");
        duration.map(Self).ok_or_else(|| D::Error::custom(must()))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin_token_env: None,
            state_file: None,
            shutdown_limit: Limit(Duration::from_secs(30)),
            longest_retry_after: Limit(Duration::from_secs(10)),
            show_provider_errors: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |seconds| Limit(Duration::from_secs(seconds));
        Self {
            head: seconds(20),
            first_token: seconds(30),
            idle: seconds(30),
            answer: seconds(300),
        }
    }
}
