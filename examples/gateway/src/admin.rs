//! What operators see and do.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_health::status::ControlService;

use crate::gateway::Gateway;

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
    let given = request.headers().get(AUTHORIZATION);
    if given.is_some() && given == gateway.routes().admin_bearer.as_ref() {
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
