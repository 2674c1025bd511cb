//! The answer if a provider finds the request at fault.

use std::{str::from_utf8, time::Duration};

use axum::http::Response;
use http_body_util::{BodyExt, Collected, Limited};
use tokio::time::timeout;
use tower_health::http::llm::{ApiError, error_response};

const LONGEST: usize = 64 * 1024;

/// Keeps the status and the code, which clients know. The text may name the account.
pub(crate) async fn rejected(answer: reqwest::Response, shows_text: bool) -> Response<String> {
    let status = answer.status();
    let body = Limited::new(reqwest::Body::from(answer), LONGEST).collect();
    let body = timeout(Duration::from_secs(1), body).await.ok();
    let body = body.and_then(Result::ok).map(Collected::to_bytes);
    let text = body
        .as_deref()
        .and_then(|body| from_utf8(body).ok())
        .unwrap_or_default();
    let told = ApiError::in_body(text);
    let code = told.as_ref().and_then(ApiError::code).unwrap_or("rejected");
    let response = error_response(
        status,
        code,
        "The provider of this model rejects the request.",
    );
    response.map(|own| if shows_text { text.to_owned() } else { own })
}
