//! Serves `/metrics` for Prometheus.

use std::future::ready;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower_health::BoxError;

/// Installs the recorder of the process.
pub(crate) fn router() -> Result<Router, BoxError> {
    let recorder = PrometheusBuilder::new().install_recorder()?;
    Ok(Router::new().route("/metrics", get(move || ready(recorder.render()))))
}
