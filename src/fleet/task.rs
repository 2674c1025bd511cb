use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    handle::{Command, Shown},
    replica::Replica,
    settings::Settings,
    store::{Lease, Reply, Request, Store, Write},
};
use crate::{
    cache::WeakCache,
    error::BoxError,
    outcome::Reason,
    telemetry,
    util::{
        panics::catch,
        time::{after, random},
    },
};

/// Time from an event until the next exchange, in which further events are collected.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause before the next attempt to reach the store.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Failed exchanges in a row after which the replica goes on alone.
const FAILURES_UNTIL_ALONE: u32 = 2;

/// Duration of the lease for the check that confirms another replica's failed check.
const SECOND_CHECK: Duration = Duration::from_secs(5);

/// The task that exchanges with the store.
pub(super) struct SyncTask<S> {
    store: S,
    settings: Settings,
    cache: WeakCache,
    commands: mpsc::UnboundedReceiver<Command>,
    replica: Replica,
    shown: Shown,
    due: Instant,
    /// Whether the breakers are in the fleet. `None` before the first exchange.
    is_connected: Option<bool>,
    /// Failed exchanges in a row.
    failures: u32,
    /// Leases that probes have asked for since the last exchange.
    leases: Vec<(Lease, oneshot::Sender<bool>)>,
    /// The results of checks since the last exchange.
    writes: Vec<Write>,
    /// The leases that probes hold, each with its end.
    held_checks: Vec<(Lease, Instant)>,
    has_warned_of_unreadable: bool,
}

enum Event {
    Stop,
    Command(Command),
    MustSync,
    Due,
}

impl<S: Store> SyncTask<S> {
    pub(super) fn new(
        store: S,
        cache: WeakCache,
        settings: Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        shown: Shown,
    ) -> Self {
        Self {
            replica: Replica::new(settings.clone()),
            store,
            settings,
            cache,
            commands,
            shown,
            due: Instant::now(),
            is_connected: None,
            failures: 0,
            leases: Vec::new(),
            writes: Vec::new(),
            held_checks: Vec::new(),
            has_warned_of_unreadable: false,
        }
    }

    /// Runs until `stop` completes or the cache is dropped.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let Some(mut syncs) = self.cache.upgrade().map(|cache| cache.syncs()) else {
            return;
        };
        loop {
            match self.next_event(stop.as_mut(), &mut syncs).await {
                Event::Stop => return self.leave().await,
                Event::Command(command) => self.command(command),
                Event::MustSync => self.hurry(),
                Event::Due => self.exchange().await,
            }
        }
    }

    async fn next_event(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        syncs: &mut watch::Receiver<()>,
    ) -> Event {
        let mut timer = pin!(sleep_until(self.due));
        let mut cache_gone = pin!(self.cache.gone());
        let mut must_sync = pin!(syncs.changed());
        poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() || cache_gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Stop);
            }
            // The task keeps no sender: after the last handle, `stop` completes.
            if let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
                return Poll::Ready(Event::Command(command));
            }
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Due);
            }
            must_sync.as_mut().poll(cx).map(|_| Event::MustSync)
        })
        .await
    }

    fn is_connected(&self) -> bool {
        self.is_connected == Some(true)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Lease {
                provider,
                mut key,
                mut ttl,
                granted,
            } if self.is_connected() => {
                if self.replica.must_confirm(&provider) {
                    key.push_str("/second");
                    ttl = SECOND_CHECK;
                }
                self.leases.push((self.replica.lease(key, ttl), granted));
                self.hurry();
            }
            // Without the store, each replica makes its own checks. An error means that the probe has stopped.
            Command::Lease { granted, .. } => drop(granted.send(true)),
            Command::Publish {
                provider,
                depth,
                outcome,
                took,
            } => {
                let write = self.replica.publish_check(&provider, depth, outcome, took);
                self.writes.extend(write.filter(|_| self.is_connected()));
                self.hurry();
            }
        }
    }

    /// Brings the next exchange forward, except while the replica is alone.
    fn hurry(&mut self) {
        if self.is_connected() {
            self.due = self.due.min(after(Instant::now(), SHORTEST_PAUSE));
        }
    }

    async fn exchange(&mut self) {
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let mut prepared = self.replica.prepare(&cache, Instant::now());
        drop(cache);
        let trials = prepared.request.leases.len();
        let (leases, answers): (Vec<_>, Vec<_>) = self.leases.drain(..).unzip();
        prepared.request.leases.extend(leases.iter().cloned());
        prepared.request.writes.append(&mut self.writes);
        let asked_at = Instant::now();

        match self.ask(&prepared.request).await {
            Ok(reply) => {
                let (trials, checks) = reply.granted.split_at(trials);
                self.replica.apply(&prepared, reply.entries, trials);
                self.held_checks.retain(|(_, until)| *until > asked_at);
                for ((lease, answer), granted) in leases.into_iter().zip(answers).zip(checks) {
                    // An error means that the probe has stopped.
                    if answer.send(*granted).is_ok() && *granted {
                        let until = after(asked_at, lease.ttl);
                        self.held_checks.push((lease, until));
                    }
                }
                self.connected();
            }
            // The probes make their checks when `answers` is dropped.
            Err(error) => self.failed(&error),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Reply, BoxError> {
        let limit = self.settings.timeout;
        // Called within `quietly`, because creating the future can panic too.
        let exchange = quietly(async { self.store.exchange(request).await });
        let reply = timeout(limit, exchange).await.unwrap_or_else(|_| {
            let error = format!("timeout: no answer within {limit:?}");
            Err(error.into())
        })?;
        let (asked, granted) = (request.leases.len(), reply.granted.len());
        if asked == granted {
            Ok(reply)
        } else {
            Err(format!("store answered {granted} of {asked} requests for leases").into())
        }
    }

    fn connected(&mut self) {
        if !self.is_connected() {
            telemetry::fleet_connected(&self.settings.names.replica);
        }
        let contents = self.replica.contents();
        self.is_connected = Some(true);
        self.failures = 0;
        let spread = 0.9 + 0.2 * random();
        self.due = after(Instant::now(), self.settings.poll_interval.mul_f64(spread));
        if let (Some(key), false) = (&contents.unreadable, self.has_warned_of_unreadable) {
            self.has_warned_of_unreadable = true;
            telemetry::fleet_entry_ignored(&self.settings.names.replica, key);
        }
        self.shown.connected(contents);
    }

    fn failed(&mut self, error: &BoxError) {
        self.replica.failed();
        self.failures = self.failures.saturating_add(1);
        let has_waited_enough = self.failures >= FAILURES_UNTIL_ALONE;
        if has_waited_enough || !self.is_connected() {
            self.disconnected(Reason::error(&**error));
        }
        let poll = self.settings.poll_interval;
        let pause = poll.saturating_mul(2_u32.saturating_pow(self.failures - 1));
        let pause = pause.min(LONGEST_PAUSE.max(poll));
        self.due = after(Instant::now(), pause.mul_f64(0.5 + 0.5 * random()));
    }

    fn disconnected(&mut self, error: Reason) {
        if self.is_connected != Some(false) {
            telemetry::fleet_disconnected(&self.settings.names.replica, &error);
            self.replica.disconnect();
        }
        self.is_connected = Some(false);
        self.shown.disconnected(Some(error));
    }

    /// Gives back the leases, and lets the breakers go on alone.
    async fn leave(mut self) {
        let cache = self.cache.upgrade().filter(|_| self.is_connected());
        let mut request = self.replica.leave(cache.as_ref());
        drop(cache);
        let now = Instant::now();
        let held = self.held_checks.drain(..).filter(|(_, until)| *until > now);
        request.releases.extend(held.map(|(lease, _)| lease));
        if self.is_connected() && request != Request::default() {
            // If this fails, the leases end by themselves.
            let _ = self.ask(&request).await;
        }
    }
}

/// Lets the breakers go on alone, even if the task was aborted: they must not wait for it.
impl<S> Drop for SyncTask<S> {
    fn drop(&mut self) {
        self.shown.disconnected(None);
        self.replica.disconnect();
    }
}

/// Turns a panic of the store into an error.
async fn quietly(
    exchange: impl Future<Output = Result<Reply, BoxError>>,
) -> Result<Reply, BoxError> {
    let mut exchange = pin!(exchange);
    poll_fn(|cx| {
        let mut polled = Poll::Ready(Err("store panicked".into()));
        catch(|| polled = exchange.as_mut().poll(cx));
        polled
    })
    .await
}
