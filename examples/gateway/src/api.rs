//! The API of OpenAI, for clients.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;
use tower_health::http::llm::{EventBody, error_response, rejected_response, unavailable_response};

use crate::{
    access::{Access, Logged},
    call::{Call, Prompt},
    gateway::Gateway,
};

/// Large, because prompts may contain images.
const LONGEST_REQUEST: usize = 32 * 1024 * 1024;
const LONGEST_ERROR: usize = 64 * 1024;

pub(crate) fn router() -> Router<Arc<Gateway>> {
    // Nested, so that a request has the path that follows a provider's base URL.
    let v1 = Router::new()
        .route("/chat/completions", post(serve))
        .route("/completions", post(serve))
        .route("/embeddings", post(serve))
        .route("/models", get(models));
    Router::new()
        .nest("/v1", v1)
        .fallback(async || error(StatusCode::NOT_FOUND, "unknown_url", "Unknown URL."))
}

async fn models(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let routes = gateway.routes();
    let aliases = routes.aliases.keys();
    let models =
        aliases.map(|it| json!({"id": it, "object": "model", "created": 0, "owned_by": "gateway"}));
    Json(json!({"object": "list", "data": models.collect::<Value>()}))
}

async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_REQUEST).await else {
        let message = "The body is too large.";
        return error(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message);
    };
    let Some(prompt) = Prompt::read(&body) else {
        let message = "The body must be a JSON object with a `model`.";
        return error(StatusCode::BAD_REQUEST, "invalid_json", message);
    };
    let (alias, routes) = (&prompt.alias, gateway.routes());
    let shows_errors = routes.server.show_provider_errors;
    let longest_retry_after = routes.server.longest_retry_after.0;
    let Some(chain) = routes.aliases.get(alias).cloned() else {
        let message =
            format!("The model `{alias}` does not exist or you do not have access to it.");
        return error(StatusCode::NOT_FOUND, "model_not_found", &message);
    };
    // With its checks, which a reload replaces.
    drop(routes);
    let mut access = Access::start(alias);
    let result = chain
        .oneshot(Call::from_parts(head, Arc::new(prompt)))
        .await;
    access.note(&result);

    let mut response = match result {
        Ok(answer) if answer.status().is_success() => delivered(answer, shows_errors),
        Ok(answer) => rejected(answer, shows_errors).await,
        Err(failed) => unavailable_response(&*failed, longest_retry_after).map(Body::new),
    };
    let headers = response.headers_mut();
    headers.insert("x-attempts", access.calls.into());
    if let Some(Ok(served_by)) = access.served_by.as_deref().map(HeaderValue::from_str) {
        headers.insert("x-served-by", served_by);
    }
    access.status = Some(response.status());
    response.map(|body| Body::new(Logged { body, access }))
}

/// Returns an answer without the headers that describe the provider's account.
fn delivered(answer: reqwest::Response, shows_errors: bool) -> Response {
    let (head, body) = axum::http::Response::from(answer).into_parts();
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    let known = head
        .headers
        .into_iter()
        .filter_map(|(name, value)| Some((name?, value)));
    let kept = known.filter(|(name, _)| [CONTENT_TYPE, CONTENT_ENCODING].contains(name));
    response.headers_mut().extend(kept);
    EventBody::wrap(response).map(|body| Body::new(body.show_errors(shows_errors)))
}

/// Returns the answer of a provider that rejected the request.
async fn rejected(answer: reqwest::Response, shows_text: bool) -> Response {
    let status = answer.status();
    let body = to_bytes(Body::new(reqwest::Body::from(answer)), LONGEST_ERROR);
    let body = timeout(Duration::from_secs(1), body).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    rejected_response(status, &body, shows_text).map(Body::new)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    error_response(status, code, message).map(Body::new)
}
