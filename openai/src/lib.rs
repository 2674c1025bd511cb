//! A provider, a proxy in front of it, and the `openai` client for Python in front of that.

mod environment;
mod proxy;
mod python;
mod upstream;

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

pub use self::{
    environment::Python,
    proxy::Proxy,
    python::Answer,
    upstream::{Act, Upstream},
};

/// Serves on loopback until the runtime ends.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
