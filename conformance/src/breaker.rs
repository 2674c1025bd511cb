//! The interface to the breakers under test.

use std::{pin::Pin, sync::Arc, time::Duration};

use tower::{BoxError, util::BoxCloneService};

use crate::work::{Problem, Work, work};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type Service = BoxCloneService<Work, (), BoxError>;
/// Called with each new state.
pub(crate) type Listener = Arc<dyn Fn(State) + Send + Sync>;
pub(crate) type Check = Arc<dyn Fn() -> BoxFuture<bool> + Send + Sync>;

/// A breaker of one crate, set up and used as its documentation says.
///
/// Only [`NAME`](Self::NAME), [`new`](Self::new) and [`call`](Self::call) are required. A method returns [`Lacks`]
/// if the crate has no such feature. That counts neither for nor against the crate.
pub(crate) trait Breaker: Send + Sync + Sized + 'static {
    /// The name and the version of the crate, as in `Cargo.toml`.
    const NAME: &'static str;

    /// The causes of the rows that fail. The tests require one for each. A row takes the first entry that lists it.
    const CAUSES: &'static [Cause] = &[];

    /// Makes a closed breaker. Panics if the crate refuses such rules.
    fn new(rules: Rules) -> Result<Self, Lacks>;

    /// Makes a call, which asks the breaker and polls `work` at its first poll, in the same task. If `work` is not polled
    /// then, the call counts as refused. Its output does not matter. [`Problem::is_failure`] tells which errors count.
    fn call(&self, work: Work) -> impl Future + Send + 'static;

    /// Makes a call to a group of breakers, all of which refuse it. Only a crate that recognises refusals by its own
    /// breakers needs such a group; for any other, [`Problem::Refused`] is the answer.
    fn call_refusing_group(&self) -> impl Future + Send + 'static {
        let (work, backend) = work();
        backend.answer(Err(Problem::Refused));
        self.call(work)
    }

    /// Makes a breaker that calls `listener` with each new state.
    fn with_listener(_rules: Rules, _listener: Listener) -> Result<Self, Lacks> {
        Err(Lacks("has no listeners"))
    }

    /// Makes a call that is answered with a stream of events, read as `reading` specifies.
    fn stream(&self, _reading: Reading) -> Result<BoxFuture<()>, Lacks> {
        Err(Lacks("judges a call by its response, without the body"))
    }

    /// Closes the breaker and clears its history.
    fn reset(&self) -> Result<(), Lacks> {
        Err(Lacks("cannot be reset"))
    }

    /// Forces the breaker open, for `ttl` if the crate has such a limit.
    fn force_open(&self, _ttl: Duration) -> Result<(), Lacks> {
        Err(Lacks("cannot be forced"))
    }

    /// Returns whether a call would be admitted, according to each view of the state that the crate offers.
    fn views(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("reports no state"))
    }

    /// Returns whether each state gauge that the crate publishes reads 1.
    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("publishes no gauges"))
    }

    /// Returns the service that the breaker guards, which runs each work.
    fn service(&self) -> Result<Service, Lacks> {
        Err(Lacks("is not a tower service"))
    }

    /// Applies the same layer to another service.
    fn layered_again(&self) -> Result<Self, Lacks> {
        Err(Lacks("has no layer"))
    }

    /// Returns the breaker of another provider.
    fn named(&self, _id: &str) -> Result<Self, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    /// Returns whether a provider is healthy. It may be unknown to the crate.
    fn is_healthy(&self, _id: &str) -> Result<bool, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    /// Returns the number of providers that the crate keeps.
    fn known_providers(&self) -> Result<usize, Lacks> {
        Err(Lacks("keeps no list of providers"))
    }

    /// Starts to check providers in the background, and returns a future that stops the checks. Panics if the crate
    /// refuses the settings.
    fn probe(&self, _probing: Probing) -> Result<BoxFuture<()>, Lacks> {
        Err(Lacks("has no probe"))
    }
}

/// Rows in which a crate fails, and the cause in its source.
pub(crate) type Cause = (&'static [&'static str], &'static str);

/// The reason why a test does not apply to a crate.
pub(crate) struct Lacks(pub(crate) &'static str);

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) trip: Trip,
    pub(crate) open_for: Duration,
    /// The number of trials that a half-open breaker admits, and of successes that close it. A crate without such a
    /// setting lacks 0 trials, and ignores other numbers.
    pub(crate) trials: u32,
}

/// The failures that trip a breaker.
#[derive(Clone, Copy)]
pub(crate) enum Trip {
    InARow(u32),
    /// This share of the calls in the last `window`, if there are `at_least` so many.
    RateInTime {
        share: f32,
        window: Duration,
        at_least: u32,
    },
    /// This share of the last `calls` calls.
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
        }
    }

    pub(crate) fn trials(self, trials: u32) -> Self {
        Self { trials, ..self }
    }
}

/// The default number of failures in a row that trip.
pub(crate) const FAILURES: u32 = 5;

/// Trips at five failures in a row, for a minute. Then one trial decides.
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

/// The end of a response body.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    /// The reader hangs up after the last event.
    ToTheLastEvent,
    /// The body ends before its announced length.
    ToAnEndTooSoon,
}

pub(crate) struct Probing {
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    /// The first check belongs to the breaker's own provider, each other one to another provider.
    pub(crate) checks: Vec<Check>,
    /// The maximum number of concurrent checks, if the crate has such a limit.
    pub(crate) at_once: usize,
    /// Only providers that are not closed are checked, if the crate can do that.
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

/// Checks nothing, every 30 s.
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
