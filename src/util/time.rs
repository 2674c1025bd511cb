//! Deadlines that cannot overflow, and random numbers for jitter.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::LazyLock,
    time::Duration,
};

use tokio::time::Instant;

/// Maximum distance of a deadline: thirty years, which the clock of every platform can represent.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Returns `start + wait`, at most [`FAR`] ahead.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FAR)
}

/// An instant in nanoseconds since [`ORIGIN`], which fits into an atomic and lasts for five centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonotonicNanos(NonZeroU64);

/// The zero of [`MonotonicNanos`]: up to a day before its first use, so that no instant in use lies before it, even in tests
/// with a paused clock.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = std::time::Instant::now();
    // Some platforms' clocks cannot represent a time before the boot.
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

    /// Returns a number that is greater for a later instant.
    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Returns a random number that no other process is likely to draw. It is not good enough for secrets.
pub(crate) fn random_token() -> u64 {
    // Each `RandomState` has a new seed.
    RandomState::new().hash_one(())
}

/// Returns a random number in `[0, 1)`, good enough for jitter but not for secrets.
pub(crate) fn random() -> f64 {
    // An `f64` represents 53 bits exactly.
    let bits = random_token() >> 11;
    #[allow(clippy::cast_precision_loss)]
    let unit = bits as f64 / (1_u64 << 53) as f64;
    unit
}
