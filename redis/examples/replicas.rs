//! Three processes call a provider that hangs for 8 s and comes back. Another three do the same as a fleet that shares one Redis.
//!
//! Run with: `cargo run -p tower-health-redis --example replicas`, if `redis-server` is installed. To use a running server, add
//! its URL: `… --example replicas redis://127.0.0.1:6379`. It ends after 14 s.

use std::{
    env,
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower_health::{Backoff, HealthCache, HealthProbe, Policy, fleet::Fleet};
use tower_health_redis::RedisStore;

const REPLICAS: usize = 3;
const UP: Duration = Duration::from_secs(2);
const DOWN: Duration = Duration::from_secs(8);
const RECOVERED: Duration = Duration::from_secs(4);

const TIMEOUT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(700);
const OPEN_FOR: Duration = Duration::from_secs(2);
const CHECK_EVERY: Duration = Duration::from_secs(2);

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [command, provider, store @ ..] if command == "replica" => {
            replica(provider.parse()?, store.first()).await
        }
        urls => compare(urls.first()).await,
    }
}

/// Runs the outage with and without a fleet at the same time, and prints the counts.
async fn compare(url: Option<&String>) -> Result<(), BoxError> {
    let (url, _server) = match url {
        Some(url) => (url.clone(), None),
        None => start_redis().await?,
    };
    println!(
        "{REPLICAS} replicas; the provider hangs for {DOWN:?}, and a call waits for {TIMEOUT:?}.\n"
    );
    let (alone, fleet) = tokio::try_join!(outage(None), outage(Some(&url)))?;
    println!("{:28}{:>8}{:>12}", "", "alone", "in a fleet");
    let rows = [
        ("calls that waited in vain", &alone.calls, &fleet.calls),
        ("of these, trials", &alone.trials, &fleet.trials),
        ("checks while it was down", &alone.checks, &fleet.checks),
    ];
    for (name, alone, fleet) in rows {
        let [alone, fleet] = [alone, fleet].map(|count| count.load(Relaxed));
        println!("{name:28}{alone:>8}{fleet:>12}");
    }
    Ok(())
}

/// Starts the replicas, lets the provider hang and come back, and returns the provider's counts.
async fn outage(store: Option<&str>) -> Result<Arc<Provider>, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    let provider = Arc::new(Provider::default());
    tokio::spawn(Arc::clone(&provider).serve(listener));
    let replicas: Result<Vec<_>, _> = (0..REPLICAS)
        .map(|_| {
            let mut command = Command::new(env::current_exe()?);
            command.arg("replica").arg(&address).args(store);
            command.stdin(Stdio::null()).spawn().map(KilledOnDrop)
        })
        .collect();
    let _replicas = replicas?;
    sleep(UP).await;
    provider.is_down.store(true, Relaxed);
    sleep(DOWN).await;
    provider.is_down.store(false, Relaxed);
    sleep(RECOVERED).await;
    Ok(provider)
}

/// Makes calls and checks until the process is killed.
async fn replica(provider: SocketAddr, store: Option<&String>) -> Result<(), BoxError> {
    let cache = HealthCache::new(Policy::new().backoff(Backoff::constant(OPEN_FOR)));
    let mut probe = HealthProbe::new(&cache)
        .interval(CHECK_EVERY)
        .timeout(TIMEOUT)
        .check("provider", move || ask(provider, *b"check"));
    let fleet = match store {
        Some(url) => {
            let fleet = Fleet::new(&cache, RedisStore::open(url.as_str())?);
            Some(fleet.poll_interval(PAUSE / 4).spawn())
        }
        None => None,
    };
    if let Some(fleet) = &fleet {
        probe = probe.fleet(fleet);
    }
    let _probe = probe.spawn();
    let health = cache.provider("provider");
    loop {
        sleep(PAUSE).await;
        let Ok(permit) = health.admit() else {
            continue;
        };
        tokio::spawn(async move {
            let kind = if permit.is_trial() {
                *b"trial"
            } else {
                *b"calls"
            };
            match timeout(TIMEOUT, ask(provider, kind)).await {
                Ok(Ok(())) => permit.success(),
                Ok(Err(error)) => permit.failure(error.to_string()),
                Err(_) => permit.failure("timeout"),
            }
        });
    }
}

async fn ask(provider: SocketAddr, kind: [u8; 5]) -> io::Result<()> {
    let mut connection = TcpStream::connect(provider).await?;
    connection.write_all(&kind).await?;
    connection.read_u8().await?;
    Ok(())
}

/// A provider that answers with a byte. While it is down, it counts requests, and answers only checks, because it can still be
/// reached.
#[derive(Default)]
struct Provider {
    is_down: AtomicBool,
    calls: AtomicUsize,
    trials: AtomicUsize,
    checks: AtomicUsize,
}

impl Provider {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((connection, _)) = listener.accept().await {
            let provider = Arc::clone(&self);
            // An error means that the replica has given up.
            tokio::spawn(async move { provider.answer(connection).await });
        }
    }

    async fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        let mut kind = [0; 5];
        connection.read_exact(&mut kind).await?;
        let is_down = self.is_down.load(Relaxed);
        let count = |counter: &AtomicUsize, is_it: bool| {
            counter.fetch_add(usize::from(is_down && is_it), Relaxed);
        };
        let is_check = &kind == b"check";
        count(&self.checks, is_check);
        count(&self.trials, &kind == b"trial");
        count(&self.calls, !is_check);
        if is_down && !is_check {
            // Waits until the replica closes the connection.
            return connection.read_u8().await.map(drop);
        }
        connection.write_u8(1).await
    }
}

async fn start_redis() -> Result<(String, Option<KilledOnDrop>), BoxError> {
    let port = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let server = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
        ])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| {
            format!("redis-server: {error}; install it, or name the URL of a server")
        })?;
    let server = KilledOnDrop(server);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_err()
    {
        sleep(Duration::from_millis(20)).await;
    }
    Ok((format!("redis://127.0.0.1:{port}"), Some(server)))
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
