use std::time::Duration;

use crate::util::{
    limits,
    settings::{positive, within},
    time::FAR,
};

/// Limit to which the wait grows for throttles without a retry time.
const LONGEST_UNNAMED: Duration = Duration::from_secs(5 * 60);

/// The time for which a breaker stays open after a *throttle*: the provider asks for a pause, for example with HTTP 429.
///
/// ```
/// use std::time::Duration;
/// use tower_health::Throttle;
///
/// let defaults = Throttle::default();
/// let impatient = Throttle::default()
///     .default_wait(Duration::from_secs(2))
///     .max_wait(Duration::from_secs(30))
///     .jitter(0.5);
/// # let _ = (defaults, impatient);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Throttle {
    pub(crate) default_wait: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) jitter: f64,
}

impl Throttle {
    /// Sets the wait after a throttle without a retry time. Default: 15 s.
    ///
    /// If several come in a row, each one after the first doubles the wait, up to 5 minutes, or up to `wait` if that is longer.
    ///
    /// # Panics
    ///
    /// If `wait` is zero.
    #[track_caller]
    pub fn default_wait(self, wait: Duration) -> Self {
        Self {
            default_wait: positive("Throttle::default_wait", wait),
            ..self
        }
    }

    /// Sets the maximum wait, even if the provider asks for a longer one. Default: 1 hour.
    ///
    /// [`jitter`](Self::jitter) comes on top: by default at most a tenth, which makes 66 minutes.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn max_wait(self, limit: Duration) -> Self {
        Self {
            max_wait: positive("Throttle::max_wait", limit),
            ..self
        }
    }

    /// Sets the jitter as a share of each wait, so that callers and replicas do not return to a provider at the same instant.
    /// Default: 0.1, which lengthens a wait by a random time of up to a tenth. 0 switches it off.
    ///
    /// It never shortens a wait. It applies to each wait that a provider asks for, also with a
    /// [failure](crate::Outcome::Failure), and to the [default wait](Self::default_wait). It comes on top of
    /// [`max_wait`](Self::max_wait). [`not_before`](crate::ProviderHealth::not_before) shows the time without jitter: from that
    /// time on, a passed check or a [granted trial](crate::Provider::grant_trial) can end the wait.
    ///
    /// # Panics
    ///
    /// If `share` is negative, above 1 or not a number.
    #[track_caller]
    pub fn jitter(self, share: f64) -> Self {
        Self {
            jitter: within("`Throttle::jitter`", limits::share(share)),
            ..self
        }
    }

    /// Returns the value of [`default_wait`](Self::default_wait).
    #[must_use]
    pub fn get_default_wait(&self) -> Duration {
        self.default_wait
    }

    /// Returns the value of [`max_wait`](Self::max_wait).
    #[must_use]
    pub fn get_max_wait(&self) -> Duration {
        self.max_wait
    }

    /// Returns the value of [`jitter`](Self::jitter).
    #[must_use]
    pub fn get_jitter(&self) -> f64 {
        self.jitter
    }

    /// Returns the wait, without jitter; `in_a_row` throttles before this one had no retry time either.
    pub(crate) fn wait(&self, named: Option<Duration>, in_a_row: u32) -> Duration {
        let unnamed = || {
            let factor = 2_u32.saturating_pow(in_a_row);
            let longest = self.default_wait.max(LONGEST_UNNAMED);
            self.default_wait.saturating_mul(factor).min(longest)
        };
        named.unwrap_or_else(unnamed).min(self.max_wait)
    }

    /// Returns the wait with jitter; `chance` is a random number in `[0, 1)`.
    pub(crate) fn jittered(&self, wait: Duration, chance: f64) -> Duration {
        // Added, because a rounded product of the whole wait can be shorter than the wait.
        wait.saturating_add(self.jitter_of(wait, chance))
    }

    /// Returns the longest time by which jitter can lengthen a wait.
    pub(crate) fn longest_jitter(&self) -> Duration {
        self.jitter_of(self.max_wait, 1.0)
    }

    fn jitter_of(&self, wait: Duration, chance: f64) -> Duration {
        wait.min(FAR).mul_f64(self.jitter * chance)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            default_wait: Duration::from_secs(15),
            max_wait: Duration::from_secs(60 * 60),
            jitter: 0.1,
        }
    }
}
