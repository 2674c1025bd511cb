//! Judges a provider by the events and errors that it sends.

use serde_json::Value;
use tower_health::{
    Outcome, Reason,
    http::{Content, ErrorResponse, ErrorVerdict, SseEvent, StreamVerdict},
};

enum Event {
    Content,
    Last,
    Error(Reason),
    Throttle(Reason),
}

impl Event {
    fn of(event: &SseEvent<'_>) -> Self {
        if event.data == "[DONE]" {
            return Self::Last;
        }
        match error_in(event.data) {
            None => Self::Content,
            Some((code, message)) if code == "rate_limit_exceeded" => {
                Self::Throttle(Reason::labelled(code, message))
            }
            Some((code, message)) => Self::Error(Reason::labelled(code, message)),
        }
    }
}

/// Judges events before anything has been returned, so that the next provider can answer.
pub(crate) fn first_event(event: &SseEvent<'_>) -> Content {
    match Event::of(event) {
        Event::Content | Event::Last => Content::Begun,
        Event::Error(reason) => Content::broken(reason),
        Event::Throttle(reason) => Content::throttled(None, reason),
    }
}

/// Judges events while the client reads.
pub(crate) fn judge_event(event: &SseEvent<'_>) -> StreamVerdict {
    match Event::of(event) {
        Event::Content => StreamVerdict::Continue,
        Event::Last => StreamVerdict::Done,
        Event::Error(reason) => StreamVerdict::broken(reason),
        Event::Throttle(reason) => StreamVerdict::throttled(None, reason),
    }
}

/// An unpaid bill has the status of a rate limit, but waiting does not help.
pub(crate) fn judge_error(error: &ErrorResponse<'_>) -> ErrorVerdict {
    match error_in(error.body) {
        Some((code, message)) if code == "insufficient_quota" => {
            ErrorVerdict::new().outcome(Outcome::fatal(Reason::labelled(code, message)))
        }
        _ => ErrorVerdict::new(),
    }
}

/// The code and the message of an error object.
fn error_in(json: &str) -> Option<(String, String)> {
    let mut json: Value = serde_json::from_str(json).ok()?;
    let error = json.get_mut("error").filter(|error| !error.is_null())?;
    let text = |key: &str| error[key].as_str().map(str::to_owned);
    let code = text("code").unwrap_or_else(|| "error event".to_owned());
    Some((code, text("message").unwrap_or_default()))
}
