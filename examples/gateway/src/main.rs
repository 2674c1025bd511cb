//! Serves a configuration, or shows the answers to clients while providers fail.
//!
//! Run with: `cargo run -p gateway -- gateway.toml`, or `cargo run -p gateway -- --demo`.

use std::{env, path::PathBuf, process::ExitCode, sync::Arc};

use gateway::{Config, Gateway, demo, serve};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower_health::BoxError;
use tracing::{error, info};

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), BoxError> {
    let argument = env::args().nth(1);
    let path = match argument.as_deref() {
        Some("--demo") => return demo::run().await,
        Some(path) => PathBuf::from(path),
        None => return Err("usage: gateway gateway.toml, or gateway --demo".into()),
    };
    tracing_subscriber::fmt().init();
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let config = Config::read(&path)?;
    let gateway = Gateway::new(&config, Some(path))?;

    let mut hangups = signal(SignalKind::hangup())?;
    let reloaded = Arc::clone(&gateway);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match reloaded.reload() {
                Ok(()) => info!("reloaded"),
                Err(error) => error!(%error, "not reloaded"),
            }
        }
    });
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminations.recv() => {}
            _ = interrupts.recv() => {}
        }
    };
    let listener = TcpListener::bind(config.listen()).await?;
    info!("listening on {}", listener.local_addr()?);
    serve(gateway, listener, metrics, stop).await
}
