use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult, Script, ScriptInvocation,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;
use tower_health::{
    BoxError,
    fleet::{Reply, Request, Store, WriteRule},
};

use crate::reply::{Found, ScriptReply};

/// Maximum time of an entry or a lease, in milliseconds: a year.
const LONGEST_TTL: u128 = 365 * 24 * 60 * 60 * 1_000;

/// The version of the layout, which is part of each key.
const LAYOUT: u32 = 1;

/// A [`Store`] in Redis or Valkey.
///
/// It uses one connection, and opens a new one after each error or timeout. It connects at the first exchange, so the application
/// starts even if the server is down.
///
/// ```no_run
/// use tower_health::{HealthCache, fleet::Fleet};
/// use tower_health_redis::RedisStore;
///
/// # async fn example() -> Result<(), tower_health_redis::redis::RedisError> {
/// let cache = HealthCache::default();
/// let store = RedisStore::open("redis://127.0.0.1:6379")?;
/// let fleet = Fleet::new(&cache, store).spawn();
///
/// let customized = RedisStore::open("redis://gateway:password@redis.internal:6379/2")?
///     .prefix("gateway-production");
/// # let _ = (fleet, customized);
/// # Ok(())
/// # }
/// ```
pub struct RedisStore<C = MultiplexedConnection> {
    connect: Connect<C>,
    prefix: String,
    script: Script,
    /// Taken out during an exchange and put back after a success. So no exchange uses a connection on which another one failed or
    /// was cancelled.
    connection: Mutex<Option<C>>,
    /// The last entries, which are still up to date if the script returns the same version.
    last: Mutex<Option<Found>>,
}

type Connect<C> = Box<dyn Fn() -> Connecting<C> + Send + Sync>;
type Connecting<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;

impl RedisStore {
    /// Creates a store from a URL such as `redis://user:password@host:6379/0`.
    ///
    /// `rediss://` needs the feature `tls`; `unix:///path` is a Unix socket.
    ///
    /// # Errors
    ///
    /// If the URL cannot be parsed. It does not connect yet.
    pub fn open(url: impl IntoConnectionInfo) -> RedisResult<Self> {
        let client = Client::open(url)?;
        // A fleet has a timeout of its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        Ok(Self::connect_with(move || {
            let (client, config) = (client.clone(), config.clone());
            async move {
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await
            }
        }))
    }
}

impl<C> RedisStore<C> {
    /// Creates a store that gets its connections from `connect`, for example from the `redis` crate's clients for Cluster or
    /// Sentinel.
    ///
    /// All keys of a store are in one hash slot of a cluster.
    pub fn connect_with<F, Fut>(connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = RedisResult<C>> + Send + 'static,
    {
        Self {
            connect: Box::new(move || Box::pin(connect())),
            prefix: "tower-health".to_owned(),
            script: Script::new(include_str!("exchange.lua")),
            connection: Mutex::new(None),
            last: Mutex::new(None),
        }
    }

    /// Sets the prefix of all keys. Replicas with the same prefix are one fleet. Default: `tower-health`.
    ///
    /// # Panics
    ///
    /// If `prefix` is empty or contains a brace.
    #[must_use]
    #[track_caller]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        assert!(
            !prefix.is_empty() && !prefix.contains(['{', '}']),
            "`RedisStore::prefix` must have at least one character and no brace, got {prefix:?}"
        );
        Self { prefix, ..self }
    }

    fn key(&self, name: &str) -> String {
        // The braces put all keys into one slot of a cluster.
        format!("{{{}}}:{LAYOUT}:{name}", self.prefix)
    }

    fn invocation(&self, request: &Request, known_version: &str) -> ScriptInvocation<'_> {
        let mut call = self.script.prepare_invoke();
        call.key(self.key("entries"));
        let leases = request.releases.iter().chain(&request.leases);
        for lease in leases {
            call.key(self.key(&format!("lease:{}", lease.key)));
        }
        call.arg(known_version).arg(request.writes.len());
        for write in &request.writes {
            let rule = match write.rule {
                WriteRule::Replace => "replace",
                WriteRule::Extend => "extend",
                WriteRule::Remove => "remove",
            };
            call.arg(&write.key)
                .arg(rule)
                .arg(format!("{:016x}", write.token))
                .arg(millis(write.ttl))
                .arg(&write.value);
        }
        call.arg(request.releases.len());
        for lease in &request.releases {
            call.arg(lease.holder);
        }
        call.arg(request.leases.len());
        for lease in &request.leases {
            call.arg(lease.holder).arg(millis(lease.ttl).max(1));
        }
        call
    }
}

impl<C: ConnectionLike + Send + 'static> Store for RedisStore<C> {
    async fn exchange(&self, request: &Request) -> Result<Reply, BoxError> {
        let taken = lock(&self.connection).take();
        let mut connection = match taken {
            Some(connection) => connection,
            None => (self.connect)().await?,
        };
        // Kept if the exchange fails: a server that is overloaded would else be asked for all entries again.
        let known_version = lock(&self.last).as_ref().map(|last| last.version.clone());
        let known_version = known_version.unwrap_or_default();
        let asked_at = Instant::now();
        let reply: ScriptReply = self
            .invocation(request, &known_version)
            .invoke_async(&mut connection)
            .await?;
        *lock(&self.connection) = Some(connection);

        let last = lock(&self.last).take();
        let found = reply.found(last, asked_at)?;
        let entries = found.entries(asked_at);
        *lock(&self.last) = Some(found);
        Ok(Reply {
            entries,
            granted: reply.granted,
        })
    }
}

fn millis(time: Duration) -> u64 {
    let millis = time.as_millis().min(LONGEST_TTL);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Omits the URL, which may contain a password.
impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
