use serde_json::Value;

use super::{
    api_error::ApiError,
    codes::{FATAL, NOT_HERE, THROTTLES},
};
use crate::{
    http::{
        judge::StreamVerdict,
        peek::Content,
        read_errors::{ErrorResponse, ErrorVerdict},
        sse::SseEvent,
    },
    outcome::Outcome,
};

/// Finds the first token of a stream, for [`PeekLayer::first_sse_event`](crate::http::PeekLayer::first_sse_event).
///
/// Before it come comments, the role of the assistant, and choices without content. An error before it fails the call.
#[must_use]
pub fn first_token(event: &SseEvent<'_>) -> Content {
    match ApiError::in_event(event) {
        None if is_token(event) => Content::Begun,
        None => Content::NotYet,
        Some(error) if error.is(THROTTLES) => {
            Content::throttled(error.retry_after(), error.reason())
        }
        Some(error) => Content::broken(error.reason()),
    }
}

/// Judges a stream to its last event, for [`StatusClassifier::judge_sse`](crate::http::StatusClassifier::judge_sse): `[DONE]`
/// of OpenAI's API, or `message_stop` of Anthropic's. A stream that ends without it is a failure.
#[must_use]
pub fn to_last_event(event: &SseEvent<'_>) -> StreamVerdict {
    match ApiError::in_event(event) {
        None if is_last(event) => StreamVerdict::Done,
        None => StreamVerdict::Continue,
        Some(error) if error.is(THROTTLES) => {
            StreamVerdict::throttled(error.retry_after(), error.reason())
        }
        Some(error) => StreamVerdict::broken(error.reason()),
    }
}

/// Judges the body of an error, for [`ReadErrorsLayer`](crate::http::ReadErrorsLayer).
///
/// The 429 of an unpaid bill is not a pause of seconds, and the 400 of a prompt that is too long for one provider is no reason
/// not to ask the next.
pub fn error_body(response: &ErrorResponse<'_>) -> ErrorVerdict {
    match ApiError::in_body(response.body) {
        Some(error) if error.is(FATAL) => {
            ErrorVerdict::new().outcome(Outcome::fatal(error.reason()))
        }
        Some(error) if error.is(NOT_HERE) => {
            ErrorVerdict::new().outcome(Outcome::Answered).advance(true)
        }
        _ => ErrorVerdict::new(),
    }
}

/// Returns whether the event is the last of a complete stream.
pub(super) fn is_last(event: &SseEvent<'_>) -> bool {
    event.data == "[DONE]" || event.event == "message_stop"
}

fn is_token(event: &SseEvent<'_>) -> bool {
    match event.event {
        "message_start" | "content_block_start" | "ping" => return false,
        _ if event.data.is_empty() => return false,
        _ => {}
    }
    let chunk: Value = serde_json::from_str(event.data).unwrap_or_default();
    let Some(choices) = chunk["choices"].as_array() else {
        return true;
    };
    choices.iter().any(|choice| {
        let delta = choice["delta"].as_object().into_iter().flatten();
        let mut parts = delta.filter(|(name, _)| *name != "role");
        parts.any(|(_, part)| has_content(part))
            || has_content(&choice["text"])
            || has_content(&choice["finish_reason"])
    })
}

fn has_content(part: &Value) -> bool {
    match part {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}
