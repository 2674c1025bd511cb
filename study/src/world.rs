//! A provider in trouble for three minutes, and a standby that is always healthy.

use std::{
    future::pending,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder};
use tower_health::BoxError;

pub(crate) const OUTAGE: Range<Duration> = Duration::from_secs(135)..Duration::from_secs(315);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWERS_AFTER: Duration = Duration::from_millis(1500);
/// How many times longer an answer takes in a [slow-down](Trouble::SlowDown).
const SLOWER: u32 = 10;

/// The provider that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Provider,
    Standby,
}

/// The fate of a call that reaches the provider during the outage.
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    /// Calls hang, even after the outage.
    Hang,
    /// Calls fail at once.
    Errors,
    /// Every second call hangs.
    BrownOut,
    /// Answers take ten times as long.
    SlowDown,
}

/// One simulation's providers.
#[derive(Clone)]
pub(crate) struct World {
    trouble: Trouble,
    start: Instant,
    visits: Arc<Mutex<Vec<Visit>>>,
}

/// A caller's call that reached the provider. Times are since the start of the simulation.
#[derive(Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) began: Duration,
    /// When the provider answered; `None` if it did not, or the caller had given up.
    pub(crate) answered: Option<Duration>,
}

/// A client that many callers can share.
pub(crate) trait Client:
    Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Client for S where
    S: Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

impl World {
    pub(crate) fn new(trouble: Trouble) -> Self {
        Self {
            trouble,
            start: Instant::now(),
            visits: Arc::default(),
        }
    }

    /// Returns a client with a timeout and without a breaker.
    pub(crate) fn client(&self, of: Source) -> impl Client<Error = BoxError> + use<> {
        let (world, calls) = (self.clone(), Arc::new(AtomicUsize::new(0)));
        ServiceBuilder::new()
            .timeout(TIMEOUT)
            .service_fn(move |()| {
                let (world, number) = (world.clone(), calls.fetch_add(1, Relaxed));
                async move {
                    match of {
                        Source::Provider => world.visit(number).await?,
                        Source::Standby => sleep(ANSWERS_AFTER).await,
                    }
                    Ok::<_, BoxError>(of)
                }
            })
    }

    /// Returns the provider's client for checks, whose calls are not visits.
    pub(crate) fn checking_client(&self) -> impl Client<Error = BoxError> + use<> {
        let uncounted = Self {
            visits: Arc::default(),
            ..self.clone()
        };
        uncounted.client(Source::Provider)
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.with_visits(|visits| visits.clone())
    }

    async fn visit(&self, number: usize) -> Result<(), BoxError> {
        let began = self.now();
        let index = self.with_visits(|visits| {
            visits.push(Visit {
                began,
                answered: None,
            });
            visits.len() - 1
        });
        let mut takes = ANSWERS_AFTER;
        if OUTAGE.contains(&began) {
            match self.trouble {
                Trouble::Hang => pending().await,
                Trouble::BrownOut if number % 2 == 0 => pending().await,
                Trouble::BrownOut => {}
                Trouble::Errors => return Err("down".into()),
                Trouble::SlowDown => takes *= SLOWER,
            }
        }
        sleep(takes).await;
        let answered = Some(self.now());
        self.with_visits(|visits| visits[index].answered = answered);
        Ok(())
    }

    fn with_visits<R>(&self, then: impl FnOnce(&mut Vec<Visit>) -> R) -> R {
        then(&mut self.visits.lock().expect("nothing here panics"))
    }
}
