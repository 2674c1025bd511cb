//! A classifier's settings as a table. What closures decide is not among them.

use std::collections::BTreeMap;

use ::http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _},
};

use super::{
    raw_value::RawValue,
    setting::{flag, optional, wait},
};
use crate::http::{StatusClassifier, retry_hint};

#[derive(Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table of a classifier's settings"
)]
struct Table {
    credentials_as_failures: Option<RawValue>,
    success_on: Option<RawValue>,
    answered_on: Option<RawValue>,
    neutral_on: Option<RawValue>,
    throttled_on: Option<RawValue>,
    failure_on: Option<RawValue>,
    fatal_on: Option<RawValue>,
    advance_on: Option<RawValue>,
    return_on: Option<RawValue>,
    idle_timeout: Option<RawValue>,
    retry_hint: Option<RawValue>,
}

/// An API with a function in [`retry_hint`].
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Api {
    OpenAi,
    Anthropic,
    GitHub,
}

type Setter = fn(StatusClassifier, Vec<u16>) -> StatusClassifier;

impl Table {
    fn over(self, mut classifier: StatusClassifier) -> Result<StatusClassifier, String> {
        // Applied first, so that the lists can override its three statuses.
        if flag("credentials_as_failures", self.credentials_as_failures)? == Some(true) {
            classifier = classifier.credentials_as_failures();
        }
        let health: [(_, _, Setter); 6] = [
            ("success_on", self.success_on, StatusClassifier::success_on),
            (
                "answered_on",
                self.answered_on,
                StatusClassifier::answered_on,
            ),
            ("neutral_on", self.neutral_on, StatusClassifier::neutral_on),
            (
                "throttled_on",
                self.throttled_on,
                StatusClassifier::throttled_on,
            ),
            ("failure_on", self.failure_on, StatusClassifier::failure_on),
            ("fatal_on", self.fatal_on, StatusClassifier::fatal_on),
        ];
        let advance: [(_, _, Setter); 2] = [
            ("advance_on", self.advance_on, StatusClassifier::advance_on),
            ("return_on", self.return_on, StatusClassifier::return_on),
        ];
        classifier = set(classifier, health)?;
        classifier = set(classifier, advance)?;
        if let Some(limit) = wait("idle_timeout", self.idle_timeout)? {
            classifier = classifier.idle_timeout(limit);
        }
        Ok(
            match optional("retry_hint", self.retry_hint, RawValue::variant)? {
                None => classifier,
                Some(Api::OpenAi) => classifier.retry_hint(retry_hint::openai),
                Some(Api::Anthropic) => classifier.retry_hint(retry_hint::anthropic),
                Some(Api::GitHub) => classifier.retry_hint(retry_hint::github),
            },
        )
    }
}

/// Applies settings that exclude each other.
fn set<const N: usize>(
    mut classifier: StatusClassifier,
    settings: [(&'static str, Option<RawValue>, Setter); N],
) -> Result<StatusClassifier, String> {
    let mut owners = BTreeMap::new();
    for (name, given, setter) in settings {
        let statuses = optional(name, given, statuses)?.unwrap_or_default();
        for status in &statuses {
            match owners.insert(*status, name) {
                Some(other) if other != name => {
                    return Err(format!("{name}: {status} is also in {other}"));
                }
                _ => {}
            }
        }
        classifier = setter(classifier, statuses);
    }
    Ok(classifier)
}

fn statuses(given: RawValue) -> Result<Vec<u16>, String> {
    given.list()?.iter().map(status).collect()
}

fn status(given: &RawValue) -> Result<u16, String> {
    let must = || format!("HTTP status must be between 100 and 999, got {given}");
    let code = given.clone().count().ok();
    let code = code.and_then(|code| u16::try_from(code).ok());
    code.filter(|code| StatusCode::from_u16(*code).is_ok())
        .ok_or_else(must)
}

impl<'de> Deserialize<'de> for StatusClassifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new().deserialize(deserializer)
    }
}

/// Reads a table over this classifier, which supplies its closures and the omitted settings.
impl<'de> DeserializeSeed<'de> for &StatusClassifier {
    type Value = StatusClassifier;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<StatusClassifier, D::Error> {
        let table = Table::deserialize(deserializer)?;
        table.over(self.clone()).map_err(D::Error::custom)
    }
}
