use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    frames::{Frames, MIN_INTERVAL},
    history::Cursor,
    subscribers::Slot,
};
use crate::{
    cache::{HealthCache, Transitions, WeakCache},
    util::panics::with_safe_waker,
};

/// The server-sent events of one subscriber. A frame is built only when the body is polled.
pub(super) struct Events {
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

pub(super) struct Feed {
    cache: WeakCache,
    frames: Arc<Frames>,
    /// Used only to wake up: the frames take transitions from the history.
    transitions: Transitions,
    overrides: watch::Receiver<()>,
    slot: Slot,
    read: Option<Cursor>,
    /// When the last frame was built.
    sent: Instant,
    /// When the next frame is sent, even without a change.
    due: Instant,
}

impl Events {
    pub(super) fn of(cache: &HealthCache, frames: Arc<Frames>, slot: Slot) -> Self {
        let feed = Feed {
            cache: cache.downgrade(),
            frames,
            transitions: cache.subscribe(),
            overrides: cache.overrides(),
            slot,
            read: None,
            sent: Instant::now(),
            due: Instant::now(),
        };
        Self {
            next: Box::pin(feed.next()),
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = ready!(self.next.as_mut().poll(cx));
        Poll::Ready(next.map(|(frame, feed)| {
            self.next = Box::pin(feed.next());
            frame
        }))
    }
}

impl Feed {
    /// Waits for the next frame. Returns `None` once the cache is dropped or the service is closed.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        self.changed().await?;
        // Before the snapshot, so that a later change wakes the next frame.
        while self.transitions.try_recv().is_some() {}
        self.overrides.mark_unchanged();
        let cache = self.cache.upgrade()?;
        let frame = self.frames.frame(&cache, self.read);
        drop(cache);

        self.read = Some(frame.end);
        (self.sent, self.due) = (frame.at, frame.due);
        Some((frame.data, self))
    }

    /// Waits until a frame is due: a change, a wait that ends, or the refresh.
    async fn changed(&mut self) -> Option<()> {
        let is_first = self.read.is_none();
        let earliest = Instant::now() + MIN_INTERVAL;
        let mut gone = pin!(self.cache.gone());
        let mut closed = pin!(self.slot.closed());
        let mut changed = pin!(async {
            if !is_first {
                sleep_until(earliest).await;
                let mut transition = pin!(self.transitions.recv());
                let mut overridden = pin!(self.overrides.changed());
                let change = poll_fn(|cx| {
                    let has_changed = transition.as_mut().poll(cx).is_ready()
                        || overridden.as_mut().poll(cx).is_ready();
                    if has_changed {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                });
                // Ignored: a change and the due time both call for a frame.
                let _ = timeout_at(self.due, change).await;
                sleep_until(self.frames.next_after(self.sent)).await;
            }
        });
        with_safe_waker(poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() || gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            changed.as_mut().poll(cx).map(Some)
        }))
        .await
    }
}
