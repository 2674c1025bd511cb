//! What is asked of every breaker, whoever wrote it.

use std::{pin::Pin, sync::Arc, time::Duration};

use tower::{BoxError, util::BoxCloneService};

use crate::work::Work;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type Service = BoxCloneService<Work, (), BoxError>;
/// Told of each new state.
pub(crate) type Listener = Arc<dyn Fn(State) + Send + Sync>;
pub(crate) type Check = Arc<dyn Fn() -> BoxFuture<bool> + Send + Sync>;

/// A breaker of one crate, set up and used as its documentation says.
///
/// What a crate has no means for it [`Lacks`]: that is neither to its credit nor against it.
pub(crate) trait Breaker: Send + Sync + Sized + 'static {
    const NAME: &'static str;

    const CAUSES: &'static [Cause];

    /// Panics where the crate refuses such rules.
    fn new(rules: Rules) -> Result<Self, Lacks>;

    /// A call, which asks the breaker when it is first polled.
    fn call(&self, work: Work) -> BoxFuture<()>;

    /// A call to a group of providers of this crate's own breakers, all of which refuse it.
    fn call_refusing_group(&self) -> BoxFuture<()>;

    /// A call that is answered with a stream of events, read as this says.
    fn stream(&self, _reading: Reading) -> Result<BoxFuture<()>, Lacks> {
        Err(Lacks("judges a call by its response, without the body"))
    }

    /// Closes, and forgets what was heard.
    fn reset(&self) -> Result<(), Lacks> {
        Err(Lacks("cannot be reset"))
    }

    /// For so long, where it can be told.
    fn force_open(&self, _ttl: Duration) -> Result<(), Lacks> {
        Err(Lacks("cannot be forced"))
    }

    /// By each view of its state that it offers: would a call be admitted?
    fn views(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("reports no state"))
    }

    /// Whether each gauge of a state that the crate itself publishes reads 1.
    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("publishes no gauges"))
    }

    fn service(&self) -> Result<Service, Lacks> {
        Err(Lacks("is not a tower service"))
    }

    /// What the same layer makes of another service.
    fn layered_again(&self) -> Result<Self, Lacks> {
        Err(Lacks("has no layer"))
    }

    /// The breaker of another provider, of this name.
    fn named(&self, _id: &str) -> Result<Self, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    fn is_healthy(&self, _id: &str) -> Result<bool, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    fn known_providers(&self) -> Result<usize, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    /// Starts to check providers in the background. Panics where the crate refuses it.
    fn probe(&self, _probing: Probing) -> Result<Box<dyn Probe>, Lacks> {
        Err(Lacks("has no probe"))
    }
}

pub(crate) trait Probe {
    fn stop(&self) -> BoxFuture<()>;
}

/// What in a crate's source makes it fail in some rows.
pub(crate) type Cause = (&'static [&'static str], &'static str);

/// Why a crate cannot be asked for something.
pub(crate) struct Lacks(pub(crate) &'static str);

pub(crate) struct Rules {
    pub(crate) trip: Trip,
    pub(crate) open_for: Duration,
    /// So many calls may try a half-open provider, and as many must succeed to close.
    pub(crate) trials: u32,
    pub(crate) listener: Option<Listener>,
}

/// How many failures are too many.
#[derive(Clone, Copy)]
pub(crate) enum Trip {
    InARow(u32),
    /// Such a share of the calls of the last `window`, of which there are `at_least` so many.
    RateInTime {
        share: f32,
        window: Duration,
        at_least: u32,
    },
    /// Such a share of the last so many calls.
    RateOfCalls {
        share: f32,
        calls: u32,
    },
}

impl Rules {
    pub(crate) fn new(trip: Trip) -> Self {
        Self {
            trip,
            open_for: Duration::from_secs(60),
            trials: 1,
            listener: None,
        }
    }

    pub(crate) fn trials(self, trials: u32) -> Self {
        Self { trials, ..self }
    }

    pub(crate) fn listener(self, listener: impl Fn(State) + Send + Sync + 'static) -> Self {
        Self {
            listener: Some(Arc::new(listener)),
            ..self
        }
    }
}

/// How many failures in a row trip by default.
pub(crate) const FAILURES: u32 = 5;

/// Five failures in a row trip, for a minute, after which one trial decides.
impl Default for Rules {
    fn default() -> Self {
        Self::new(Trip::InARow(FAILURES))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open,
    HalfOpen,
}

/// How the body of an answer comes to its end.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    /// The reader hangs up after the last event.
    ToTheLastEvent,
    /// The body ends before it has the length that it announced.
    ToAnEndTooSoon,
}

pub(crate) struct Probing {
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    /// The first is of the breaker's own provider, each other of one more.
    pub(crate) checks: Vec<Check>,
    /// So many at most, where it can be told.
    pub(crate) at_once: usize,
    /// Only those that are not closed, where it can be told.
    pub(crate) suspects_only: bool,
}

impl Probing {
    pub(crate) fn new(check: Check) -> Self {
        Self {
            checks: vec![check],
            ..Self::default()
        }
    }
}

/// Nothing is checked, every 30 s.
impl Default for Probing {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            timeout: Duration::from_secs(3),
            checks: Vec::new(),
            at_once: 32,
            suspects_only: false,
        }
    }
}
