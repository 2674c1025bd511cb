//! Serves the API and the admin routes until shutdown.

use std::sync::Arc;

use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::oneshot, time::sleep};

use tower_health::BoxError;

use crate::{admin, api, gateway::Gateway};

/// Serves until `stop` completes. Streams may then go on for the configured time.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    metrics: PrometheusHandle,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), BoxError> {
    let router = api::router().merge(admin::router(&gateway, metrics));
    // Each token is sent at once.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (stopping, stopped) = oneshot::channel::<()>();
    let status = gateway.status.clone();
    let limit = gateway.routes().server.shutdown_limit;
    let server = axum::serve(listener, router.with_state(Arc::clone(&gateway)))
        .with_graceful_shutdown(async move {
            stop.await;
            status.close();
            drop(stopping);
        });
    let too_late = async {
        let _ = stopped.await;
        sleep(limit.0).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = too_late => {}
    }
    gateway.leave_fleet().await;
    gateway.save()
}
