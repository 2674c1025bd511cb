use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    breaker::Depth,
    outcome::{Outcome, Reason},
    util::settings::positive,
};

type Verdict = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// How one provider is checked, and what passing the check proves.
///
/// ```
/// use std::time::Duration;
/// use tower_health::Check;
///
/// # async fn connect() -> std::io::Result<()> { Ok(()) }
/// # async fn select_one() -> std::io::Result<()> { Ok(()) }
/// let reachable = Check::new(connect);
/// let works = Check::new(select_one)
///     .functional()
///     .interval(Duration::from_secs(300))
///     .timeout(Duration::from_secs(10));
/// # let _ = (reachable, works);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Check {
    run: Arc<dyn Fn(Depth, Instant) -> Verdict + Send + Sync>,
    pub(super) depth: Depth,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
}

impl Check {
    /// A check that the provider can be reached at all: a TCP connect, a cheap `GET`.
    ///
    /// A failure counts. A success proves only so much: it closes what a check opened; for what live
    /// calls opened it ends the wait early, so that one of them is tried, until a trial has failed in
    /// the same outage.
    ///
    /// `check` gives whatever is a [`CheckResult`]; it may panic, which is a failure.
    pub fn new<F, Fut>(check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: CheckResult,
    {
        Self::judged_by(move |_, _| {
            let result = check();
            async move { result.await.into_outcome() }
        })
    }

    /// A check that is told what it has to prove, and until when.
    pub(crate) fn judged_by<F, Fut>(check: F) -> Self
    where
        F: Fn(Depth, Instant) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self {
            run: Arc::new(move |depth, deadline| Box::pin(check(depth, deadline))),
            depth: Depth::Reachability,
            interval: None,
            timeout: None,
        }
    }

    /// The check is a real, if tiny, request down the real path: its success is as good as a trial's,
    /// and closes. It is judged as a trial is: an [answer about the request](Outcome::Answered) closes nothing. Default:
    /// it proves reachability.
    pub fn functional(self) -> Self {
        Self {
            depth: Depth::Functional,
            ..self
        }
    }

    /// How often this check runs. Default: the probe's [`interval`](crate::HealthProbe::interval).
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn interval(self, interval: Duration) -> Self {
        Self {
            interval: Some(positive("Check::interval", interval)),
            ..self
        }
    }

    /// How long this check may take. Default: the probe's [`timeout`](crate::HealthProbe::timeout).
    ///
    /// # Panics
    ///
    /// If `timeout` is zero.
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(positive("Check::timeout", timeout)),
            ..self
        }
    }

    pub(super) fn run(&self, deadline: Instant) -> Verdict {
        (self.run)(self.depth, deadline)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("depth", &self.depth)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a check may give back: nothing, where coming to its end is enough; a `bool`; a `Result`,
/// whose error tells why, with its [label](Reason::label) where it has one; or an [`Outcome`].
///
/// | outcome | the check |
/// |---|---|
/// | [`Success`](Outcome::Success) | has passed |
/// | [`Failure`](Outcome::Failure), [`Fatal`](Outcome::Fatal) | has failed |
/// | [`Throttled`](Outcome::Throttled) | opens the breaker until the time that the provider named, as a call does, unless a live call has succeeded since the last check or a trial is in flight |
/// | [`Answered`](Outcome::Answered) | has passed where it is for [reachability](Check::new); where it is [functional](Check::functional), it has neither passed nor failed |
/// | [`Neutral`](Outcome::Neutral) | has neither passed nor failed |
pub trait CheckResult {
    /// What the check shows about the provider's health.
    fn into_outcome(self) -> Outcome;
}

impl CheckResult for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Success
    }
}

impl CheckResult for bool {
    fn into_outcome(self) -> Outcome {
        if self {
            Outcome::Success
        } else {
            Outcome::failure("check failed")
        }
    }
}

impl CheckResult for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl<T: CheckResult, E: fmt::Display + 'static> CheckResult for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(
            |error| Outcome::failure(Reason::of(&error)),
            CheckResult::into_outcome,
        )
    }
}
