use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    contents::{Contents, SharedWindow, check_key},
    settings::Settings,
};
use crate::{
    breaker::Depth,
    cache::Provider,
    outcome::{Outcome, Reason},
    util::task::TaskHandle,
    view::{Cause, State},
};

/// Handle to a [spawned](super::Fleet::spawn) fleet task. Dropping the last clone stops the task.
///
/// Keep it for as long as the replica should be in the fleet: `let _ = fleet.spawn()` stops the task at once.
#[derive(Clone, Debug)]
#[must_use = "dropping the handle stops the task"]
pub struct FleetHandle {
    task: TaskHandle,
    checks: FleetChecks,
    shown: Shown,
}

/// The health that the replicas of a fleet share, and whether this replica can reach the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetView {
    /// This replica's name.
    pub replica: Arc<str>,
    /// Whether this replica is in the fleet. False before the first exchange, after the task has ended, and from the second
    /// failed exchange in a row until one succeeds.
    pub connected: bool,
    /// The error of the last exchange, while the replica is not connected.
    pub error: Option<Reason>,
    /// The open windows in the store, by provider. Throttles are those of this replica's
    /// [quota scope](super::Fleet::quota_scope), and take precedence over failures.
    pub windows: BTreeMap<Arc<str>, PeerWindow>,
    /// The unhealthy providers of each replica that [shares its health](super::Fleet::share_health), by the replica's name. This
    /// replica is included.
    pub replicas: BTreeMap<Arc<str>, Vec<ReplicaRow>>,
}

/// A provider's open window in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerWindow {
    /// The cause: [`Cause::Throttled`], or [`Cause::Failures`] of calls or checks.
    pub cause: Cause,
    /// The remaining time.
    pub remaining: Duration,
    /// The reason, reduced to its [label](Reason::label).
    pub reason: Reason,
}

/// The health of an unhealthy provider on one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaRow {
    /// The provider's id.
    pub provider: Arc<str>,
    /// The state of its breaker there.
    pub state: State,
    /// The cause of that state.
    pub cause: Option<Cause>,
}

/// The contents and the connection that the task shows to its handles.
#[derive(Clone)]
pub(crate) struct Shown {
    replica: Arc<str>,
    content: Arc<Mutex<ShownContent>>,
}

#[derive(Default)]
struct ShownContent {
    is_connected: bool,
    error: Option<Reason>,
    contents: Arc<Contents>,
}

/// A probe's access to the task.
#[derive(Clone)]
pub(crate) struct FleetChecks {
    commands: mpsc::UnboundedSender<Command>,
}

/// A request of a probe to the task.
pub(super) enum Command {
    /// Takes the lease for a check. If no answer comes, the probe makes the check.
    Lease {
        provider: Arc<str>,
        key: String,
        ttl: Duration,
        granted: oneshot::Sender<bool>,
    },
    /// Publishes a check's result.
    Publish {
        provider: Provider,
        depth: Depth,
        outcome: Outcome,
        took: Duration,
    },
}

/// The lease that a probe needs for a check.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckLease {
    /// For the check of one interval.
    Turn { interval: Duration, ttl: Duration },
    /// For the check at the end of an open window.
    WindowEnd { interval: Duration },
}

/// Duration of the lease for the check at the end of an open window.
const WINDOW_END: Duration = Duration::from_secs(5);

impl FleetHandle {
    pub(super) fn new(
        task: TaskHandle,
        commands: mpsc::UnboundedSender<Command>,
        shown: Shown,
    ) -> Self {
        Self {
            task,
            checks: FleetChecks { commands },
            shown,
        }
    }

    /// Stops the task, and returns a future that waits until it has ended.
    ///
    /// The replica gives its leases back, and its breakers go on alone. Stopping takes at most two
    /// [timeouts](super::Fleet::timeout).
    ///
    /// # Cancel safety
    ///
    /// The task stops even if the future is dropped.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.task.stop()
    }

    /// Returns the contents of the store at the last exchange. They are empty while the replica is not connected.
    #[must_use]
    pub fn view(&self) -> FleetView {
        self.shown.view()
    }

    pub(crate) fn checks(&self) -> FleetChecks {
        self.checks.clone()
    }

    /// Returns the view for the status page. It does not keep the task running.
    #[cfg(feature = "status")]
    pub(crate) fn shown(&self) -> Shown {
        self.shown.clone()
    }
}

impl Shown {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            replica: Arc::clone(&settings.names.replica),
            content: Arc::default(),
        }
    }

    fn view(&self) -> FleetView {
        let (is_connected, error, contents) = {
            let shown = self.lock();
            let contents = Arc::clone(&shown.contents);
            (shown.is_connected, shown.error.clone(), contents)
        };
        let now = Instant::now();
        let failures = windows(&contents.open, Cause::Failures, now);
        let throttles = windows(&contents.throttled, Cause::Throttled, now);
        FleetView {
            replica: Arc::clone(&self.replica),
            connected: is_connected,
            error,
            windows: failures.chain(throttles).collect(),
            replicas: contents.replicas.clone(),
        }
    }

    /// Returns the [view](Self::view) as JSON. Redaction reduces the error to its label.
    #[cfg(feature = "status")]
    pub(crate) fn json(&self, redact: bool) -> Vec<u8> {
        let mut view = self.view();
        if redact {
            view.error = view.error.map(|error| Reason::display(error.label()));
        }
        serde_json::to_vec(&view).expect("only string keys")
    }
}

fn windows<'a>(
    shared: impl IntoIterator<Item = (&'a Arc<str>, &'a SharedWindow)>,
    cause: Cause,
    now: Instant,
) -> impl Iterator<Item = (Arc<str>, PeerWindow)> {
    let live = shared.into_iter().filter(move |(_, it)| it.until > now);
    live.map(move |(provider, window)| {
        let window = PeerWindow {
            cause,
            remaining: window.until - now,
            reason: window.label.clone(),
        };
        (Arc::clone(provider), window)
    })
}

impl Shown {
    pub(super) fn connected(&self, contents: Arc<Contents>) {
        *self.lock() = ShownContent {
            is_connected: true,
            error: None,
            contents,
        };
    }

    pub(super) fn disconnected(&self, error: Option<Reason>) {
        *self.lock() = ShownContent {
            error,
            ..ShownContent::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, ShownContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FleetChecks {
    /// Returns whether this replica should make the check. Without the store, each replica makes its own checks.
    pub(crate) fn may_check(
        &self,
        provider: Arc<str>,
        depth: Depth,
        lease: CheckLease,
    ) -> impl Future<Output = bool> + use<> {
        let (kind, interval, ttl) = match lease {
            CheckLease::Turn { interval, ttl } => ("turn", interval, ttl),
            CheckLease::WindowEnd { interval } => ("window-end", interval, WINDOW_END),
        };
        let (granted, answer) = oneshot::channel();
        // If the task has ended, `granted` is dropped.
        let _ = self.commands.send(Command::Lease {
            key: check_key(&provider, depth, interval, kind),
            provider,
            ttl,
            granted,
        });
        async move { answer.await.unwrap_or(true) }
    }

    pub(crate) fn publish(
        &self,
        provider: Provider,
        depth: Depth,
        outcome: Outcome,
        took: Duration,
    ) {
        // An error means that the task has ended.
        let _ = self.commands.send(Command::Publish {
            provider,
            depth,
            outcome,
            took,
        });
    }
}

impl fmt::Debug for FleetChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetChecks").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}
