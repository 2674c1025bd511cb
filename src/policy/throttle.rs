use std::time::Duration;

use crate::util::settings::positive;

/// Limit to which the wait grows for throttles without a retry time.
const LONGEST_UNNAMED: Duration = Duration::from_secs(5 * 60);

/// How long a breaker stays open after a *throttle*: the provider asks for a pause, for example with HTTP 429.
///
/// ```
/// use std::time::Duration;
/// use tower_health::Throttle;
///
/// let defaults = Throttle::default();
/// let impatient = Throttle::default()
///     .default_wait(Duration::from_secs(2))
///     .max_wait(Duration::from_secs(30));
/// # let _ = (defaults, impatient);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Throttle {
    pub(crate) default_wait: Duration,
    pub(crate) max_wait: Duration,
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

    /// Returns the wait; `in_a_row` throttles before this one had no retry time either.
    pub(crate) fn wait(&self, named: Option<Duration>, in_a_row: u32) -> Duration {
        let unnamed = || {
            let factor = 2_u32.saturating_pow(in_a_row);
            let longest = self.default_wait.max(LONGEST_UNNAMED);
            self.default_wait.saturating_mul(factor).min(longest)
        };
        named.unwrap_or_else(unnamed).min(self.max_wait)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            default_wait: Duration::from_secs(15),
            max_wait: Duration::from_secs(60 * 60),
        }
    }
}
