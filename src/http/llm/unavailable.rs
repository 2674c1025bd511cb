use std::{error::Error, time::Duration};

use ::http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};

use super::api_error::ApiError;
use crate::{error::Kind, http::unavailable};

/// Returns the response of a gateway for a call that failed with `error`, in the shape of OpenAI's errors.
///
/// | error | status | code |
/// |---|---|---|
/// | no target of the chain accepts the request | 400 | `no_provider_accepts` |
/// | all providers are throttled | 429 | `rate_limit_exceeded` |
/// | another, with the status of [`unavailable_response`](crate::http::unavailable_response) | 503, 504, … | `no_healthy_provider` |
///
/// `Retry-After` and `retry-after-ms` have the time until the first breaker admits a call. The SDKs sleep for that time.
/// If it is longer than `longest_wait`, `x-should-retry: false` tells them not to retry. The response contains no texts of
/// providers or errors.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{HealthCache, http::llm};
///
/// let groq = HealthCache::default().provider("groq");
/// groq.admit().unwrap().throttled(Some(Duration::from_secs(40)), "429");
/// let refusal = groq.admit().unwrap_err();
///
/// let response = llm::unavailable_response(&refusal, Duration::from_secs(10));
/// assert_eq!(response.status(), 429);
/// assert_eq!(response.headers()["x-should-retry"], "false");
/// ```
#[must_use]
pub fn unavailable_response(
    error: &(dyn Error + 'static),
    longest_wait: Duration,
) -> Response<String> {
    let (status, wait) = unavailable::status_and_wait(error);
    let (status, code, message) = if Kind::of(error) == Some(Kind::Request) {
        let message = "No provider of this model accepts such a request. It may be too long.";
        (StatusCode::BAD_REQUEST, "no_provider_accepts", message)
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        let message = "All providers of this model have reached their rate limits.";
        (status, "rate_limit_exceeded", message)
    } else {
        let message = "No provider of this model can serve now.";
        (status, "no_healthy_provider", message)
    };
    let mut response = error_response(status, code, message);
    if let Some(wait) = wait {
        let headers = response.headers_mut();
        // Rounded up: an early retry would be refused again.
        let millis = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER, millis.div_ceil(1_000).into());
        headers.insert("retry-after-ms", millis.into());
        if wait > longest_wait {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
    }
    response
}

/// Returns the response of a gateway for a request that a provider rejected, in the shape of OpenAI's errors.
///
/// Keeps the status, and the code that `body`, the provider's response, names. Its text may name the account, so it is passed on
/// only if `shows_text`, and if it is such an error.
///
/// ```
/// use http::StatusCode;
/// use tower_health::http::llm;
///
/// let body = br#"{"error": {"code": "content_filter", "message": "Organization 42 does not allow this."}}"#;
/// let response = llm::rejected_response(StatusCode::BAD_REQUEST, body, false);
/// assert!(response.body().contains("content_filter"));
/// assert!(!response.body().contains("42"));
/// ```
#[must_use]
pub fn rejected_response(status: StatusCode, body: &[u8], shows_text: bool) -> Response<String> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let error = ApiError::in_body(text);
    let code = error.as_ref().and_then(ApiError::code);
    let message = "The provider of this model rejects the request.";
    let response = error_response(status, code.unwrap_or("rejected"), message);
    let shows_text = shows_text && error.is_some();
    response.map(|own| if shows_text { text.to_owned() } else { own })
}

/// Returns an error in the shape of OpenAI's.
///
/// ```
/// use http::StatusCode;
/// use tower_health::http::llm;
///
/// let message = "The model `gpt-5` does not exist or you do not have access to it.";
/// let response = llm::error_response(StatusCode::NOT_FOUND, "model_not_found", message);
/// assert!(response.body().starts_with(r#"{"error":{"#));
/// ```
#[must_use]
pub fn error_response(status: StatusCode, code: &str, message: &str) -> Response<String> {
    let mut response = Response::new(document(status, code, message).to_string());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub(super) fn document(status: StatusCode, code: &str, message: &str) -> Value {
    let kind = match status.as_u16() {
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}
