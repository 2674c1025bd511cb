use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::util::time::after;

/// A body was silent for longer than its
/// [idle timeout](super::StatusClassifier::idle_timeout), while its reader waited.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IdleBody {
    /// The idle timeout.
    pub limit: Duration,
}

impl fmt::Display for IdleBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("idle body")
    }
}

impl Error for IdleBody {}

/// The silence of a body, which counts only while its reader waits.
pub(super) struct Silence {
    limit: Duration,
    is_on: bool,
    /// Made when the reader first waits. In a box, so that a body stays small and `Unpin`.
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

    /// The reader waits: ready where it has done so for too long.
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
