use std::time::Duration;

use serde_json::Value;

use super::codes::{FATAL, NOT_HERE, OTHERS, THROTTLES};
use crate::{http::sse::SseEvent, outcome::Reason};

/// An error that a provider reports in JSON: the member `error` of the body of an error, or of the data of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError(Value);

/// Longer texts are not identifiers.
const LONGEST_IDENTIFIER: usize = 64;

impl ApiError {
    /// Reads the error in a body; `None` if there is none.
    #[must_use]
    pub fn in_body(body: &str) -> Option<Self> {
        // Most events are not errors, and need not be parsed.
        if !body.contains(r#""error""#) {
            return None;
        }
        let mut document: Value = serde_json::from_str(body).ok()?;
        let error = document.get_mut("error")?.take();
        (!error.is_null()).then_some(Self(error))
    }

    /// Reads the error in an event; `None` if there is none. Any event of the type `error` is one.
    #[must_use]
    pub fn in_event(event: &SseEvent<'_>) -> Option<Self> {
        let unread = || (event.event == "error").then(|| Self(event.data.into()));
        Self::in_body(event.data).or_else(unread)
    }

    /// Returns the code, such as `insufficient_quota`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.identifier("code")
    }

    /// Returns the type, such as `rate_limit_error`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.identifier("type")
    }

    /// Returns the parameter of the request that is at fault, such as `messages[0].content`.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.identifier("param")
    }

    /// Returns the message. It may name the account.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0["message"].as_str().or(self.0.as_str())
    }

    /// Returns the message as a reason. Its label is the code or the type if the API documents it, and `provider error`
    /// otherwise.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let known = [FATAL, THROTTLES, NOT_HERE, OTHERS];
        let label = known.iter().find_map(|names| self.find(names));
        Reason::labelled(
            label.unwrap_or("provider error"),
            self.message().unwrap_or_default(),
        )
    }

    /// Returns the pause that the provider asks for, which a few APIs name in seconds as `retry_after`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.0["retry_after"].as_f64()?;
        let wait = Duration::try_from_secs_f64(seconds).ok()?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Returns whether the code or the type is one of these.
    pub(super) fn is(&self, names: &[&str]) -> bool {
        self.find(names).is_some()
    }

    fn find<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        let own = [self.code(), self.kind()];
        names.iter().copied().find(|name| own.contains(&Some(name)))
    }

    /// A member that is an identifier, so that it contains no text.
    fn identifier(&self, member: &str) -> Option<&str> {
        let text = self.0[member].as_str()?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
        (text.len() <= LONGEST_IDENTIFIER && text.chars().all(is_allowed)).then_some(text)
    }
}
