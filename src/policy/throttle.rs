use std::time::Duration;

use super::positive;

/// How long to leave a provider alone that asks for it.
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
    /// The wait where the provider named no time. Default: 15 s.
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

    /// The longest wait, whatever the provider says. Default: 1 hour.
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

    pub(crate) fn wait(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or(self.default_wait).min(self.max_wait)
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
