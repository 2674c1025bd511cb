use std::time::Duration;

use crate::util::{
    limits,
    settings::{positive, within},
};

/// The recovery of a half-open breaker: how many trials it admits, and how many must succeed.
///
/// By default it admits one trial at a time, and the first success closes the breaker. A failed trial opens it again.
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
    pub(crate) slow_start: bool,
}

impl Trials {
    /// Admits at most `at_once` trials at the same time, and never more than 1,048,575. Default: 1.
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
            slow_start: false,
        }
    }

    /// Sets how many trials must succeed before the breaker closes. Default: 1.
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

    /// Sets how long a trial keeps its slot. After that the next trial is admitted, even if the first is still in flight.
    /// Default: 60 s.
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

    /// Sets how long the slot of a dropped trial stays in use, so that callers with short timeouts do not flood the provider with
    /// trials. Default: 1 s; zero frees it at once.
    pub fn pause(self, wait: Duration) -> Self {
        Self {
            pause: wait,
            ..self
        }
    }

    /// Admits no live call as a trial, so that only a [functional](crate::Check::functional) check closes the breaker. Default:
    /// false.
    ///
    /// Exception: after [`Backoff::max_hold`](crate::Backoff::max_hold), a live call is admitted as a trial, so that a broken
    /// probe cannot keep a healthy provider out for ever.
    pub fn by_probe_only(self, by_probe_only: bool) -> Self {
        Self {
            by_probe_only,
            ..self
        }
    }

    /// Brings the traffic back gradually, instead of all at once when the breaker closes. Default: off.
    ///
    /// When enough trials have succeeded, the breaker stays half-open instead of closing, and each success adds a slot, as TCP's slow
    /// start does ([RFC 5681 §3.1]). So the calls that wait for the beginning of their answer are never more than twice the
    /// successes, or [`new`](Self::new) if that is more. The other calls are refused, and a [chain](crate::FallbackChain) sends them to
    /// the next provider. Without another provider, they are errors.
    ///
    /// During the start, failures count as in a closed breaker, because one random error must not undo the start: the breaker opens
    /// again when [`Trip`](crate::Trip) says so. A check that fails while no call is in flight opens it at once. Set [`Trip::slow_call`](crate::Trip::slow_call) too, or a timeout inside the layer:
    /// calls that hang keep their slots until their [lease](Self::lease) ends.
    ///
    /// It closes at a success while at least half of the slots are free, once as many calls have succeeded as were in flight when
    /// all slots were last in use; or after 1,024 successes. A passed check that would close the breaker starts this too.
    ///
    /// [RFC 5681 §3.1]: https://www.rfc-editor.org/rfc/rfc5681#section-3.1
    pub fn slow_start(self) -> Self {
        Self {
            slow_start: true,
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

    /// Returns whether [`slow_start`](Self::slow_start) is set.
    #[must_use]
    pub fn get_slow_start(&self) -> bool {
        self.slow_start
    }
}

impl Default for Trials {
    fn default() -> Self {
        Self::new(1)
    }
}
