//! The API of OpenAI, for clients.

use std::sync::Arc;

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
use tower::ServiceExt;
use tower_health::http::llm::{EventBody, error_response, unavailable_response};

use crate::{
    access::{Access, Logged},
    answer::rejected,
    call::{Call, Prompt},
    config::Server,
    gateway::Gateway,
};

/// Prompts may contain images.
const LONGEST_BODY: usize = 32 * 1024 * 1024;

pub(crate) fn router() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/v1/chat/completions", post(serve))
        .route("/v1/completions", post(serve))
        .route("/v1/embeddings", post(serve))
        .route("/v1/models", get(models))
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
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The body is too large.",
        );
    };
    let Some(prompt) = Prompt::read(&body) else {
        let message = "The body must be a JSON object with a `model`.";
        return error(StatusCode::BAD_REQUEST, "invalid_json", message);
    };
    let (alias, routes) = (&*prompt.alias, gateway.routes());
    let Some(chain) = routes.aliases.get(alias).cloned() else {
        let message =
            format!("The model `{alias}` does not exist or you do not have access to it.");
        return error(StatusCode::NOT_FOUND, "model_not_found", &message);
    };
    let mut access = Access::start(alias);
    let call = Call::from_parts(head, Arc::new(prompt));
    let result = chain.oneshot(call).await;
    access.served(&result);
    let by = [
        ("x-served-by", HeaderValue::try_from(&*access.served_by)),
        ("x-attempts", Ok(access.attempts.into())),
    ];
    let mut response = match result {
        Ok(answer) if answer.status().is_success() => deliver(answer, access, &routes.server),
        Ok(answer) => rejected(answer, routes.server.show_provider_errors)
            .await
            .map(Body::new),
        Err(failed) => {
            unavailable_response(&*failed, routes.server.longest_retry_after.0).map(Body::new)
        }
    };
    let known = by
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.ok()?)));
    for (name, value) in known.filter(|(_, value)| !value.is_empty()) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Passes an answer on, with none of the headers that tell of the provider's account.
fn deliver(answer: reqwest::Response, access: Access, server: &Server) -> Response {
    let mut response = Response::default();
    *response.status_mut() = answer.status();
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        if let Some(value) = answer.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    let media_type = response.headers().get(CONTENT_TYPE);
    let is_events = media_type.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
    let is_compressed = response.headers().contains_key(CONTENT_ENCODING);
    let body = reqwest::Body::from(answer);
    let body = if is_events && !is_compressed {
        Body::new(EventBody::new(body).show_errors(server.show_provider_errors))
    } else {
        Body::new(body)
    };
    response.map(|_: Body| Body::new(Logged { body, access }))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    error_response(status, code, message).map(Body::new)
}
