//! A network that delays bytes and cuts connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::sleep,
};
use tower_health::{State, fleet::Share};

use super::{Replica, Server, eventually};

/// A proxy in front of the server.
#[derive(Clone, Default)]
struct Wire {
    /// Milliseconds by which each read is delayed.
    delay: Arc<AtomicU64>,
    /// Bytes that pass before a connection is cut; 0 for no limit.
    cut_after: Arc<AtomicU64>,
    /// Bytes go nowhere, and connections stay open.
    is_black_hole: Arc<AtomicBool>,
}

impl Wire {
    async fn to(&self, server: SocketAddr) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(wire.clone().pipe(from_client, to_server));
                tokio::spawn(wire.clone().pipe(from_server, to_client));
            }
        });
        format!("redis://{address}")
    }

    async fn pipe(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = [0; 4_096];
        let mut passed = 0;
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            sleep(Duration::from_millis(self.delay.load(SeqCst))).await;
            if self.is_black_hole.load(SeqCst) {
                continue;
            }
            passed += read as u64;
            let limit = self.cut_after.load(SeqCst);
            if limit > 0 && passed > limit {
                let _ = to.write_all(&buffer[..read / 2]).await;
                return;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn slow_network_only_delays_sharing() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let wire = Wire::default();
    wire.delay.store(200, SeqCst);
    let one = Replica::join(&wire.to(server.address()).await, Share::Trust).await;
    let other = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    eventually("the window arrives", || other.state() == State::Open).await;
    // The remaining time was on its way.
    let late = Duration::from_secs(1);
    assert!(other.provider.health().retry_in.unwrap() <= Duration::from_secs(60) + late);
    assert!(one.provider.health().retry_in.unwrap() <= Duration::from_secs(60) + late);
}

#[tokio::test]
async fn cut_connections_lose_nothing() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let wire = Wire::default();
    // A few exchanges, and then one in the middle of which the connection is cut.
    wire.cut_after.store(3_000, SeqCst);
    let one = Replica::start(&wire.to(server.address()).await, |fleet| fleet);
    let other = Replica::join(&server.url(), Share::Trust).await;
    sleep(Duration::from_secs(2)).await;
    one.trip();
    eventually("the window arrives", || other.state() == State::Open).await;
    one.provider.mark_healthy();
    eventually("its end arrives", || other.state() == State::Closed).await;
}

#[tokio::test]
async fn connection_that_no_longer_answers_is_replaced() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let wire = Wire::default();
    let one = Replica::join(&wire.to(server.address()).await, Share::Trust).await;
    wire.is_black_hole.store(true, SeqCst);
    eventually("the loss is noticed", || !one.is_connected()).await;
    wire.is_black_hole.store(false, SeqCst);
    eventually("it rejoins", || one.is_connected()).await;
}
