use std::time::Duration;

use crate::util::{
    limits,
    settings::{positive, within},
};

/// How a breaker comes back: how many calls may try a half-open provider, and what they must show.
///
/// The default is one trial at a time; its success closes.
///
/// ```
/// use std::time::Duration;
/// use tower_health::Trials;
///
/// let one_decides = Trials::default();
/// let three_of_three = Trials::new(3).to_close(3).lease(Duration::from_secs(10));
/// # let _ = (one_decides, three_of_three);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Trials {
    pub(crate) at_once: u32,
    pub(crate) to_close: u32,
    pub(crate) lease: Duration,
    pub(crate) pause: Duration,
    pub(crate) by_probe_only: bool,
}

impl Trials {
    /// At most `at_once` trials are in flight, and 1,048,575 in any case. Default: 1.
    ///
    /// # Panics
    ///
    /// If `at_once` is 0.
    #[track_caller]
    pub fn new(at_once: u32) -> Self {
        Self {
            at_once: within("`Trials::new`", limits::at_least_one(at_once)),
            to_close: 1,
            lease: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            by_probe_only: false,
        }
    }

    /// How many trials must succeed before the breaker closes. Default: 1.
    ///
    /// # Panics
    ///
    /// If `successes` is 0.
    #[track_caller]
    pub fn to_close(self, successes: u32) -> Self {
        Self {
            to_close: within("`Trials::to_close`", limits::at_least_one(successes)),
            ..self
        }
    }

    /// How long a trial may keep its slot; then the next is admitted, whatever became of it. Default: 60 s.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn lease(self, limit: Duration) -> Self {
        Self {
            lease: positive("Trials::lease", limit),
            ..self
        }
    }

    /// How long the slot of a dropped trial stays taken, so that callers who give up early cannot
    /// hammer the provider. Default: 1 s; zero for none.
    pub fn pause(self, wait: Duration) -> Self {
        Self {
            pause: wait,
            ..self
        }
    }

    /// No live call is a trial: only a [functional](crate::Check::functional) check closes the breaker. Default: false.
    ///
    /// A live call is tried all the same once the provider has been out for
    /// [`Backoff::max_hold`](crate::Backoff::max_hold), so that a broken probe is no prison.
    pub fn by_probe_only(self, by_probe_only: bool) -> Self {
        Self {
            by_probe_only,
            ..self
        }
    }

    /// Returns how many trials may be in flight; see [`new`](Self::new).
    #[must_use]
    pub fn get_at_once(&self) -> u32 {
        self.at_once
    }

    /// Returns the value of [`to_close`](Self::to_close).
    #[must_use]
    pub fn get_to_close(&self) -> u32 {
        self.to_close
    }

    /// Returns the value of [`lease`](Self::lease).
    #[must_use]
    pub fn get_lease(&self) -> Duration {
        self.lease
    }

    /// Returns the value of [`pause`](Self::pause).
    #[must_use]
    pub fn get_pause(&self) -> Duration {
        self.pause
    }

    /// Returns the value of [`by_probe_only`](Self::by_probe_only).
    #[must_use]
    pub fn get_by_probe_only(&self) -> bool {
        self.by_probe_only
    }
}

impl Default for Trials {
    fn default() -> Self {
        Self::new(1)
    }
}
