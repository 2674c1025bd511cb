//! The status page, metrics and control, for operators.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use subtle::ConstantTimeEq;
use tower_health::status::ControlService;

use crate::{config::Bearer, gateway::Gateway};

pub(crate) fn router(gateway: &Arc<Gateway>, metrics: PrometheusHandle) -> Router<Arc<Gateway>> {
    let for_operators = Router::new()
        .route("/admin/reload", post(reload))
        .nest_service("/admin/control", ControlService::new(&gateway.cache))
        .layer(from_fn_with_state(Arc::clone(gateway), only_operators));
    Router::new()
        .route("/metrics", get(move || ready(metrics.render())))
        .nest_service("/admin/status", gateway.status.clone())
        .merge(for_operators)
}

async fn only_operators(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let routes = gateway.routes();
    let token = routes.server.admin_token_env.as_ref();
    let given = request.headers().get(AUTHORIZATION);
    // In constant time, so that the token cannot be guessed byte by byte.
    let is_same = |(one, other): (&Bearer, &HeaderValue)| one.0.as_bytes().ct_eq(other.as_bytes());
    if token.zip(given).is_some_and(|both| is_same(both).into()) {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

async fn reload(State(gateway): State<Arc<Gateway>>) -> (StatusCode, String) {
    match gateway.reload() {
        Ok(()) => (StatusCode::OK, "reloaded\n".into()),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
