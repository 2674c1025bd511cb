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
    frames::{AT_MOST_EVERY, Frames},
    history::Bookmark,
    viewers::Place,
};
use crate::{
    cache::{HealthCache, Transitions, WeakCache},
    util::panics::with_safe_waker,
};

/// What one viewer is sent: server-sent events, each of them built when somebody asks for it.
pub(super) struct Events {
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

pub(super) struct Feed {
    cache: WeakCache,
    frames: Arc<Frames>,
    /// What wakes it.
    transitions: Transitions,
    overrides: watch::Receiver<()>,
    place: Place,
    read: Option<Bookmark>,
    /// When the last frame was built.
    sent: Instant,
    /// When there is news, even if nothing happens.
    due: Instant,
}

impl Events {
    pub(super) fn of(cache: &HealthCache, frames: Arc<Frames>, place: Place) -> Self {
        let feed = Feed {
            cache: cache.downgrade(),
            frames,
            transitions: cache.subscribe(),
            overrides: cache.overrides(),
            place,
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
    /// The next frame; `None`: the cache is gone, or the viewers were sent home.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        self.news().await?;
        // Before the snapshot: what happens from now on is news.
        while self.transitions.try_recv().is_some() {}
        self.overrides.mark_unchanged();
        let cache = self.cache.upgrade()?;
        let frame = self.frames.frame(&cache, self.read);
        drop(cache);

        self.read = Some(frame.end);
        (self.sent, self.due) = (frame.at, frame.due);
        Some((frame.data, self))
    }

    /// Waits until there is some.
    async fn news(&mut self) -> Option<()> {
        let is_first = self.read.is_none();
        let earliest = Instant::now() + AT_MOST_EVERY;
        let mut gone = pin!(self.cache.gone());
        let mut closed = pin!(self.place.closed());
        let mut news = pin!(async {
            if !is_first {
                sleep_until(earliest).await;
                let mut transition = pin!(self.transitions.recv());
                let mut overridden = pin!(self.overrides.changed());
                let happens = poll_fn(|cx| {
                    let is_over = transition.as_mut().poll(cx).is_ready()
                        || overridden.as_mut().poll(cx).is_ready();
                    if is_over {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                });
                // Also with the end of the cache.
                let _ = timeout_at(self.due, happens).await;
                sleep_until(self.frames.next_after(self.sent)).await;
            }
        });
        with_safe_waker(poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() || gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            news.as_mut().poll(cx).map(Some)
        }))
        .await
    }
}
