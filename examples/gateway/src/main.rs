//! Serves a configuration, or shows what clients see while providers fail.
//!
//! Run with: `cargo run -p gateway -- gateway.toml`, or `cargo run -p gateway -- --demo`.

use std::{env, future::pending, path::PathBuf, sync::Arc};

use gateway::{Config, Gateway, serve};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::TcpListener,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
};
use tower_health::BoxError;
use tracing::{error, info};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let argument = env::args().nth(1);
    let path = match argument.as_deref() {
        Some("--demo") => return gateway::demo::run().await,
        Some(path) => PathBuf::from(path),
        None => return Err("usage: gateway gateway.toml, or gateway --demo".into()),
    };
    tracing_subscriber::fmt().init();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let config = Config::read(&path)?;
    let gateway = Gateway::new(&config, Some(path))?;
    let listener = TcpListener::bind(config.listen()).await?;
    info!("listening on {}", listener.local_addr()?);
    tokio::spawn(reload_at_sighup(Arc::clone(&gateway)));
    serve(gateway, listener, metrics, stop()).await
}

async fn reload_at_sighup(gateway: Arc<Gateway>) -> Result<(), BoxError> {
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        match gateway.reload() {
            Ok(()) => info!("reloaded"),
            Err(error) => error!(%error, "not reloaded"),
        }
    }
    Ok(())
}

async fn stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = ctrl_c() => {}
    }
}
