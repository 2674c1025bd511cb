use std::sync::atomic::{AtomicU64, Ordering};

/// The layer that admits a call. All clones of a service have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(u64);

impl LayerId {
    /// A call that is not made through a layer.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new() -> Self {
        // Not an atomic of `util::sync`, because no loom test depends on its order.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
