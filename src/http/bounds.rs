use std::time::Duration;

/// How long a body is waited for, and how much of it is held at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) within: Duration,
    pub(super) up_to: usize,
}
