use std::time::Duration;

/// Limits on reading a body before the response is returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) within: Duration,
    pub(super) up_to: usize,
}
