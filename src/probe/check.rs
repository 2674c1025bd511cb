use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    breaker::Depth,
    outcome::{Outcome, Reason},
    util::settings::positive,
};

type Verdict = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A health check of one provider, which proves that the provider is reachable or that it serves requests.
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
    /// Creates a reachability check, for example a TCP connect or a cheap `GET`.
    ///
    /// A failure counts against the provider. The effect of a success depends on what opened the breaker:
    ///
    /// - If a check opened it, the success closes it.
    /// - If live calls opened it, the success ends the open window early, so that one live call is admitted as a trial. If a
    ///   trial has failed since the breaker was last closed, a successful check does not end the window early.
    ///
    /// With [`Trials::by_probe_only`](crate::Trials::by_probe_only), a reachability check closes no breaker, not even one that
    /// a check opened, and ends no open window early.
    ///
    /// The output of `check` is any [`CheckResult`]. A panic is a failure.
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

    /// Creates a check that receives its depth and its deadline.
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

    /// Declares that the check sends a small request that the provider serves like a live call. Default: the check proves
    /// reachability only.
    ///
    /// A success counts as the success of a trial: it can close the breaker. An [`Answered`](Outcome::Answered) outcome changes
    /// nothing.
    pub fn functional(self) -> Self {
        Self {
            depth: Depth::Functional,
            ..self
        }
    }

    /// Sets the time between runs of this check. Default: the probe's [`interval`](crate::HealthProbe::interval).
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

    /// Sets the maximum duration of this check. Default: the probe's [`timeout`](crate::HealthProbe::timeout).
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

/// The output of a check.
///
/// | output | outcome |
/// |---|---|
/// | `()` | success: completing is enough |
/// | `bool` | success if true, failure if false |
/// | `Result` | for `Ok`, the outcome of its value; for `Err`, a failure with the error's text and [label](Reason::label) as the reason |
/// | [`Outcome`] | itself |
///
/// | outcome | the check |
/// |---|---|
/// | [`Success`](Outcome::Success) | passes |
/// | [`Failure`](Outcome::Failure), [`Fatal`](Outcome::Fatal) | fails |
/// | [`Throttled`](Outcome::Throttled) | opens the breaker for the retry time, as a throttled call does, but not while a trial is in flight, nor if a live call has succeeded since the last check |
/// | [`Answered`](Outcome::Answered) | passes if it checks [reachability](Check::new); is ignored if it is [functional](Check::functional) |
/// | [`Neutral`](Outcome::Neutral) | is ignored |
pub trait CheckResult {
    /// Converts the output into the outcome of the check.
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
