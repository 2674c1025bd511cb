//! The options of a chain as a table.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    raw_value::RawValue,
    setting::{count, flag, wait},
};
use crate::fallback::{Exhausted, FallbackChain};

/// Options of a [`FallbackChain`], read from configuration. Feature `serde`.
///
/// The keys are the names of the setters. All are optional: an omitted option stays as the chain has it. Unknown keys are errors,
/// as are values at which the setters panic.
///
/// | key | value |
/// |---|---|
/// | [`deadline`](FallbackChain::deadline) | a duration, such as `"60s"` |
/// | [`max_attempts`](FallbackChain::max_attempts) | a number |
/// | [`when_exhausted`](FallbackChain::when_exhausted) | `"last-resort"`, `"fail"`, `"fail-open"` or `{ wait = "5s" }` |
/// | [`last_answer`](FallbackChain::last_answer) | `true` or `false` |
///
/// ```
/// use tower::service_fn;
/// use tower_health::{ChainOptions, FallbackChain, HealthCache};
///
/// let defaults = ChainOptions::default();
/// let customized: ChainOptions = toml::from_str(r#"
///     deadline = "60s"
///     max_attempts = 2
///     when_exhausted = { wait = "5s" }
///     last_answer = true
/// "#).unwrap();
///
/// # async fn ask_groq(prompt: String) -> std::io::Result<String> { Ok(prompt) }
/// let chain = FallbackChain::new()
///     .options(&customized)
///     .guard(HealthCache::default().provider("groq"), service_fn(ask_groq));
/// # use tower::ServiceExt;
/// # let _ = (chain.oneshot(String::new()), defaults);
///
/// let error = toml::from_str::<ChainOptions>("max_attempts = 0").unwrap_err();
/// assert_eq!(error.message(), "max_attempts: must be at least 1, got 0");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainOptions {
    deadline: Option<Duration>,
    max_attempts: Option<u32>,
    when_exhausted: Option<Exhausted>,
    last_answer: Option<bool>,
}

impl<S, Req, R> FallbackChain<S, Req, R> {
    /// Sets the options that a configuration gives. Feature `serde`.
    pub fn options(mut self, options: &ChainOptions) -> Self {
        let ChainOptions {
            deadline,
            max_attempts,
            when_exhausted,
            last_answer,
        } = *options;
        if let Some(limit) = deadline {
            self = self.deadline(limit);
        }
        if let Some(tries) = max_attempts {
            self = self.max_attempts(tries.try_into().unwrap_or(usize::MAX));
        }
        if let Some(exhausted) = when_exhausted {
            self = self.when_exhausted(exhausted);
        }
        if let Some(is_returned) = last_answer {
            self = self.last_answer(is_returned);
        }
        self
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table of a chain's options"
)]
struct Table {
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_answer: Option<RawValue>,
    // Last, because TOML requires values before tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    when_exhausted: Option<Exhausted>,
}

impl Table {
    fn read(self) -> Result<ChainOptions, String> {
        Ok(ChainOptions {
            deadline: wait("deadline", self.deadline)?,
            max_attempts: count("max_attempts", self.max_attempts)?,
            when_exhausted: self.when_exhausted,
            last_answer: flag("last_answer", self.last_answer)?,
        })
    }
}

impl<'de> Deserialize<'de> for ChainOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Table::deserialize(deserializer)?
            .read()
            .map_err(D::Error::custom)
    }
}

/// Serializes the options that are set.
impl Serialize for ChainOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = Table {
            deadline: self.deadline.map(RawValue::from),
            max_attempts: self.max_attempts.map(RawValue::from),
            last_answer: self.last_answer.map(RawValue::from),
            when_exhausted: self.when_exhausted,
        };
        table.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "what an exhausted chain does")]
enum ExhaustedValue {
    LastResort,
    Fail,
    Wait(RawValue),
    FailOpen,
}

/// Deserializes `"last-resort"`, `"fail"`, `"fail-open"` or `{ wait = "5s" }`.
impl<'de> Deserialize<'de> for Exhausted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match ExhaustedValue::deserialize(deserializer)? {
            ExhaustedValue::LastResort => Self::LastResort,
            ExhaustedValue::Fail => Self::Fail,
            ExhaustedValue::Wait(max) => {
                let max = wait("when_exhausted.wait", Some(max)).map_err(D::Error::custom)?;
                max.map_or(Self::Fail, Self::Wait)
            }
            ExhaustedValue::FailOpen => Self::FailOpen,
        })
    }
}

impl Serialize for Exhausted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match *self {
            Self::LastResort => ExhaustedValue::LastResort,
            Self::Fail => ExhaustedValue::Fail,
            Self::Wait(max) => ExhaustedValue::Wait(max.into()),
            Self::FailOpen => ExhaustedValue::FailOpen,
        };
        value.serialize(serializer)
    }
}
