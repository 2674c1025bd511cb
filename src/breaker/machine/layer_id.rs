use std::sync::atomic::{AtomicU64, Ordering};

/// Which layer asks for a call. The clones of one service are one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(u64);

impl LayerId {
    /// A call that is not made through a layer.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new() -> Self {
        // Not the loom atomics of `sync`: nothing depends on the order.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
