//! Deadlines that cannot overflow, and the randomness that spreads them.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::LazyLock,
    time::Duration,
};

use tokio::time::Instant;

/// As far ahead as a deadline reaches: thirty years, which every platform's clock can hold.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `start + wait`, or [`FAR`] ahead where that is sooner.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FAR)
}

/// An instant as a number, which an atomic can hold: to the nanosecond, for five centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonotonicNanos(NonZeroU64);

/// What stamps count from: before any clock of this process was started, or stopped by a test.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = std::time::Instant::now();
    // As long as the platform's clock reaches back.
    let mut hours = (0..=24)
        .rev()
        .map(|hours| Duration::from_secs(hours * 60 * 60));
    let origin = hours.find_map(|ago| now.checked_sub(ago));
    origin.unwrap_or(now).into()
});

impl MonotonicNanos {
    pub(crate) fn of(at: Instant) -> Self {
        let nanos = at.saturating_duration_since(*ORIGIN).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Greater for what is later.
    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// A number in `[0, 1)`: enough to spread deadlines, not to keep secrets.
pub(crate) fn random() -> f64 {
    // Each `RandomState` is seeded anew; 53 bits are what an `f64` holds exactly.
    let bits = RandomState::new().hash_one(()) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let unit = bits as f64 / (1_u64 << 53) as f64;
    unit
}
