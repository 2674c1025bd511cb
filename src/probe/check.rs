use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use crate::{Reason, breaker::Depth, policy::positive};

type Verdict = Pin<Box<dyn Future<Output = Result<(), Reason>> + Send>>;

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
    run: Arc<dyn Fn() -> Verdict + Send + Sync>,
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
        Self {
            run: Arc::new(move || {
                let verdict = check();
                Box::pin(async move { verdict.await.into_result() })
            }),
            depth: Depth::Reachability,
            interval: None,
            timeout: None,
        }
    }

    /// The check is a real, if tiny, request down the real path: its success is as good as a trial's,
    /// and closes. Default: it proves reachability.
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

    pub(super) fn run(&self) -> Verdict {
        (self.run)()
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

/// What a check may give back: nothing, where coming to its end is enough; a `bool`; or a `Result`,
/// whose error tells why, with its [label](Reason::label) where it has one.
pub trait CheckResult {
    /// Passed, or the reason why not.
    ///
    /// # Errors
    ///
    /// The reason why the check did not pass.
    fn into_result(self) -> Result<(), Reason>;
}

impl CheckResult for () {
    fn into_result(self) -> Result<(), Reason> {
        Ok(())
    }
}

impl CheckResult for bool {
    fn into_result(self) -> Result<(), Reason> {
        if self {
            Ok(())
        } else {
            Err("check failed".into())
        }
    }
}

impl<T: CheckResult, E: fmt::Display + 'static> CheckResult for Result<T, E> {
    fn into_result(self) -> Result<(), Reason> {
        self.map_err(|error| Reason::of(&error))?.into_result()
    }
}
