//! The ids of many providers.

use std::sync::LazyLock;

pub(crate) const SIZES: [usize; 3] = [1_000, 10_000, MOST_PROVIDERS];

pub(crate) const MOST_PROVIDERS: usize = 100_000;

/// Ids as [`per_authority`](tower_health::HealthLayer::per_authority) makes them, in no order.
pub(crate) static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let numbers = scattered(MOST_PROVIDERS);
    numbers
        .map(|number| format!("https://host-{number:06}.example.com"))
        .collect()
});

/// Returns the numbers below `count`, a power of ten, each once and far from the one before: memory in order would be too
/// fast.
pub(crate) fn scattered(count: usize) -> impl Iterator<Item = usize> + Clone {
    (0..count).map(move |number| number * 7919 % count)
}
