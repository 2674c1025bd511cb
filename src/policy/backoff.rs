use std::{fmt, time::Duration};

use crate::util::time::FAR;
use crate::util::{
    limits,
    settings::{positive, within},
};

/// The time for which a breaker stays open.
///
/// The default is 60 s each time. An exponential backoff grows with each failed trial. It resets to the first wait when the
/// breaker has been closed for as long as the last open window lasted.
///
/// ```
/// use std::time::Duration;
/// use tower_health::{Backoff, Jitter};
///
/// let a_minute = Backoff::default();
/// let growing = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(120))
///     .jitter(Jitter::Equal);
/// # let _ = (a_minute, growing);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Backoff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
    pub(crate) factor: f64,
    pub(crate) jitter: Jitter,
    pub(crate) max_hold: Duration,
}

/// Randomness of a wait, so that replicas do not retry a provider at the same instant.
///
/// The names are from "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// The whole wait, without randomness.
    #[default]
    None,
    /// Between half of the wait and the whole wait.
    Equal,
    /// Between zero and the whole wait.
    Full,
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Equal => "equal",
            Self::Full => "full",
        })
    }
}

impl Backoff {
    /// Waits for the same time after each trip and failed trial. Default: 60 s.
    ///
    /// # Panics
    ///
    /// If `wait` is zero.
    #[track_caller]
    pub fn constant(wait: Duration) -> Self {
        let wait = positive("Backoff::constant", wait);
        Self::growing(wait, wait, 1.0)
    }

    /// Waits for `first` after a trip, and twice as long after each failed trial, up to `max`.
    ///
    /// # Panics
    ///
    /// If `first` is zero or `max` is shorter than `first`.
    #[track_caller]
    pub fn exponential(first: Duration, max: Duration) -> Self {
        let first = positive("Backoff::exponential: first", first);
        let max = within("`Backoff::exponential`: max", limits::max(max, first));
        Self::growing(first, max, 2.0)
    }

    fn growing(first: Duration, max: Duration, factor: f64) -> Self {
        Self {
            first,
            max,
            factor,
            jitter: Jitter::None,
            max_hold: Duration::from_secs(10 * 60),
        }
    }

    /// Sets the factor by which the wait grows with each failed trial. Default: 2 for an exponential backoff.
    ///
    /// # Panics
    ///
    /// If `factor` is less than 1 or not finite.
    #[track_caller]
    pub fn factor(self, factor: f64) -> Self {
        Self {
            factor: within("`Backoff::factor`", limits::factor(factor)),
            ..self
        }
    }

    /// Sets the randomness of each wait. Default: [`Jitter::None`].
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Sets the maximum time that failed checks and [marks](crate::Provider::mark_unhealthy) can keep a provider out. Default:
    /// 10 minutes.
    ///
    /// The time counts from the trip or the last failed trial. After that, a live call is admitted as a trial, so that a broken
    /// probe cannot keep a healthy provider out for ever.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn max_hold(self, limit: Duration) -> Self {
        Self {
            max_hold: positive("Backoff::max_hold", limit),
            ..self
        }
    }

    /// Returns the wait after a trip: `first` of [`exponential`](Self::exponential), or `wait` of [`constant`](Self::constant).
    #[must_use]
    pub fn get_first(&self) -> Duration {
        self.first
    }

    /// Returns the longest wait: `max` of [`exponential`](Self::exponential), or `wait` of [`constant`](Self::constant).
    #[must_use]
    pub fn get_max(&self) -> Duration {
        self.max
    }

    /// Returns the value of [`factor`](Self::factor); 1 for a constant backoff.
    #[must_use]
    pub fn get_factor(&self) -> f64 {
        self.factor
    }

    /// Returns the value of [`jitter`](Self::jitter).
    #[must_use]
    pub fn get_jitter(&self) -> Jitter {
        self.jitter
    }

    /// Returns the value of [`max_hold`](Self::max_hold).
    #[must_use]
    pub fn get_max_hold(&self) -> Duration {
        self.max_hold
    }

    /// The longest open window, except for a pause that the provider asked for.
    pub(crate) fn longest(&self) -> Duration {
        self.max.max(self.max_hold)
    }

    /// Returns the wait after `level` failed trials; `chance` is a random number in `[0, 1)`.
    pub(crate) fn wait(&self, level: u32, chance: f64) -> Duration {
        let grown = self.first.as_secs_f64() * self.factor.powf(f64::from(level));
        // Compared before the conversion, because the product can be infinite.
        let wait = if grown < self.max.as_secs_f64() {
            Duration::from_secs_f64(grown)
        } else {
            self.max
        };
        match self.jitter {
            Jitter::None => wait,
            Jitter::Equal => wait.min(FAR).mul_f64(0.5 + chance / 2.0),
            Jitter::Full => wait.min(FAR).mul_f64(chance),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::constant(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn grows_by_the_factor_up_to_the_cap() {
        let backoff = Backoff::exponential(SECOND, 10 * SECOND).factor(3.0);
        let waits = [0, 1, 2, 3, u32::MAX].map(|level| backoff.wait(level, 0.0).as_secs());
        assert_eq!(waits, [1, 3, 9, 10, 10]);
    }

    #[test]
    fn jitter_keeps_to_its_share_of_the_wait() {
        let wait = |jitter, chance| Backoff::constant(SECOND).jitter(jitter).wait(0, chance);
        assert_eq!(wait(Jitter::None, 0.5), SECOND);
        assert_eq!(wait(Jitter::Equal, 0.0), SECOND / 2);
        assert_eq!(wait(Jitter::Equal, 1.0), SECOND);
        assert_eq!(wait(Jitter::Full, 0.0), Duration::ZERO);
        assert_eq!(wait(Jitter::Full, 1.0), SECOND);
    }

    #[test]
    fn longest_durations_do_not_overflow() {
        let backoff = Backoff::exponential(SECOND, Duration::MAX).jitter(Jitter::Equal);
        assert!(backoff.wait(u32::MAX, 1.0) <= Duration::MAX);
        assert_eq!(Backoff::constant(Duration::MAX).wait(7, 0.0), Duration::MAX);
    }
}
