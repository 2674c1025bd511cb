use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::util::time::after;

/// The error of a body that was idle for longer than its
/// [idle timeout](super::StatusClassifier::idle_timeout) while its reader waited.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IdleBody {
    /// The idle timeout.
    pub limit: Duration,
}

impl fmt::Display for IdleBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body idle for longer than {:?}", self.limit)
    }
}

impl Error for IdleBody {}

/// Measures how long the reader of a body waits for a frame.
pub(super) struct Silence {
    limit: Duration,
    is_on: bool,
    /// Created at the first wait. Boxed, so that bodies stay small and `Unpin`.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            is_on: false,
            timer: None,
        }
    }

    pub(super) fn end(&mut self) {
        self.is_on = false;
    }

    /// Called while the reader waits. Ready once it has waited longer than the limit.
    pub(super) fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<IdleBody> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        let was_on = mem::replace(&mut self.is_on, true);
        if !was_on {
            timer.as_mut().reset(after(Instant::now(), limit));
        }
        timer.as_mut().poll(cx).map(|()| IdleBody { limit })
    }
}
