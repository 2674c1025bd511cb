use std::net::SocketAddr;

use axum::Router;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

/// A server on loopback. It has its own runtime, so that killing it also closes its connections.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    pub async fn start(router: Router) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), router).await
    }

    /// Starts at a given address, such as that of a killed server.
    pub async fn start_at(address: SocketAddr, router: Router) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("could not build the runtime");
        let serving = async move {
            let listener = TcpListener::bind(address)
                .await
                .expect("could not bind the address");
            let address = listener
                .local_addr()
                .expect("a bound listener has an address");
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        };
        let address = runtime
            .spawn(serving)
            .await
            .expect("the server task panicked");
        Self {
            address,
            runtime: Some(runtime),
        }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Closes the listener and all connections at once, as a killed process does.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
