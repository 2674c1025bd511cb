//! Errors, in the shape of OpenAI's.

use std::{str::from_utf8, time::Duration};

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Collected, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_health::{
    BoxError,
    error::{Kind, NoHealthyProvider, find},
    http::{llm::ApiError, unavailable_response},
};

use crate::config::Server;

pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(document(status, code, message))).into_response()
}

pub(crate) fn document(status: StatusCode, code: &str, message: &str) -> Value {
    let kind = match status.as_u16() {
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The answer if no target has served.
pub(crate) fn unavailable(failed: &BoxError, server: &Server) -> Response {
    let known = unavailable_response(&**failed);
    let (status, code, message) = match known.status() {
        _ if Kind::of(&**failed) == Some(Kind::Request) => (
            StatusCode::BAD_REQUEST,
            "no_provider_accepts",
            "No provider of this model accepts such a request. It may be too long.",
        ),
        status @ StatusCode::TOO_MANY_REQUESTS => (
            status,
            "rate_limit_exceeded",
            "All providers of this model have reached their rate limits.",
        ),
        status => (
            status,
            "no_healthy_provider",
            "No provider of this model can serve now.",
        ),
    };
    let details = server.show_provider_errors.then(|| format!(" {failed}"));
    let mut response = error(
        status,
        code,
        &[message, &details.unwrap_or_default()].concat(),
    );
    if let Some(wait) = find(&**failed).and_then(retry_in) {
        let headers = response.headers_mut();
        let seconds = known.headers().get(RETRY_AFTER).cloned();
        headers.extend(seconds.map(|seconds| (RETRY_AFTER, seconds)));
        // The same for OpenAI's clients, which sleep as long as they are told to.
        let millis = u64::try_from(wait.as_micros().div_ceil(1000));
        headers.insert("retry-after-ms", millis.unwrap_or(u64::MAX).into());
        if wait > server.longest_retry_after.0 {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
    }
    response
}

/// The time until the first of the targets can be called again.
fn retry_in(exhausted: &NoHealthyProvider) -> Option<Duration> {
    exhausted
        .attempts
        .iter()
        .filter_map(|it| it.retry_in)
        .chain(exhausted.retry_in)
        .min()
}

/// The answer if a provider finds the request at fault. Its text may name the account.
pub(crate) async fn rejected(answer: reqwest::Response, server: &Server) -> Response {
    let status = answer.status();
    let body = Limited::new(reqwest::Body::from(answer), 64 * 1024).collect();
    let body = timeout(Duration::from_secs(1), body)
        .await
        .ok()
        .and_then(Result::ok);
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    if server.show_provider_errors {
        return (status, [(CONTENT_TYPE, "application/json")], body).into_response();
    }
    let told = from_utf8(&body).ok().and_then(ApiError::in_body);
    let code = told.as_ref().and_then(ApiError::code).unwrap_or("rejected");
    let mut document = document(
        status,
        code,
        "The provider of this model rejects the request.",
    );
    document["error"]["param"] = told.as_ref().and_then(ApiError::param).into();
    (status, Json(document)).into_response()
}
