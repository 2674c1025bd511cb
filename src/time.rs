//! Deadlines that cannot overflow, and the randomness that spreads them.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

/// As far ahead as a deadline reaches: thirty years, which every platform's clock can hold.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `start + wait`, or [`FAR`] ahead where that is sooner.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FAR)
}

/// A number in `[0, 1)`: enough to spread deadlines, not to keep secrets.
pub(crate) fn random() -> f64 {
    // Each `RandomState` is seeded anew; 53 bits are what an `f64` holds exactly.
    let bits = RandomState::new().hash_one(()) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let unit = bits as f64 / (1_u64 << 53) as f64;
    unit
}
