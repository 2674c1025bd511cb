//! Checks two providers by connecting to them. One of them stops listening and comes back.
//!
//! Run with: `cargo run --example probe`

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower_health::{Backoff, HealthCache, HealthProbe, Policy};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    // Shorter than the default of 60 s, so that recovery shows soon.
    let backoff = Backoff::constant(Duration::from_millis(500));
    let cache = HealthCache::new(Policy::new().backoff(backoff));
    tokio::spawn(
        cache
            .subscribe()
            .for_each(|transition| println!("{transition}")),
    );

    let (_stays, steady) = listen().await?;
    let (leaves, fickle) = listen().await?;
    let probe = HealthProbe::new(&cache)
        .interval(Duration::from_millis(200))
        .timeout(Duration::from_millis(100))
        .check("steady", move || connect(steady))
        .check("fickle", move || connect(fickle))
        .spawn();

    sleep(Duration::from_secs(1)).await;
    println!("-- fickle stops listening");
    drop(leaves);
    sleep(Duration::from_secs(2)).await;
    println!("-- fickle listens again");
    let _back = TcpListener::bind(fickle).await?;
    sleep(Duration::from_secs(1)).await;

    probe.stop().await;
    for row in cache.snapshot().providers {
        println!("{}: {}", row.id, row.state);
    }
    Ok(())
}

/// Returns a listening backend and its address.
async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// The check: passes if a connection succeeds.
async fn connect(address: SocketAddr) -> io::Result<()> {
    TcpStream::connect(address).await.map(drop)
}
