use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    history::{Bookmark, Excerpt, History},
    settings::Settings,
    viewers::Place,
};
use crate::{
    HealthCache, Snapshot, Transition, Transitions, cache::WeakCache, foreign::with_safe_waker,
    time::after,
};

/// However much happens, no more often than that.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// What one viewer is sent: server-sent events, each of them built when it is asked for.
pub(super) struct Events {
    next: Next,
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

pub(super) struct Feed {
    cache: WeakCache,
    settings: Arc<Settings>,
    history: Arc<History>,
    /// What wakes it.
    transitions: Transitions,
    overrides: watch::Receiver<()>,
    place: Place,
    read: Option<Bookmark>,
    /// When there is news, even if nothing happens.
    due: Instant,
}

impl Events {
    pub(super) fn of(
        cache: &HealthCache,
        settings: Arc<Settings>,
        history: Arc<History>,
        place: Place,
    ) -> Self {
        let feed = Feed {
            cache: cache.downgrade(),
            settings,
            history,
            transitions: cache.subscribe(),
            overrides: cache.overrides(),
            place,
            read: None,
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
        let snapshot = self.settings.snapshot(&cache);
        // After the snapshot, which announces what time has changed.
        let excerpt = self.history.after(self.read.unwrap_or_default());
        drop(cache);

        let frame = self.frame(&snapshot, &excerpt);
        let soonest = snapshot.providers.iter().filter_map(|it| it.retry_in).min();
        let refresh = self.settings.refresh;
        let pause = soonest.map_or(refresh, |soonest| soonest.min(refresh));
        self.due = after(snapshot.at, pause.max(AT_MOST_EVERY));
        Some((frame, self))
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

    fn frame(&mut self, snapshot: &Snapshot, excerpt: &Excerpt) -> Bytes {
        let mut frame = Vec::new();
        let is_first = self.read.replace(excerpt.end).is_none();
        if is_first {
            // The browser comes back after so many milliseconds.
            frame.extend_from_slice(b"retry: 1000\n");
        }
        if is_first || !excerpt.transitions.is_empty() {
            let name = if is_first { "history" } else { "transitions" };
            write(&mut frame, name, &Told::of(excerpt, &self.settings));
        }
        write(&mut frame, "health", snapshot);
        frame.into()
    }
}

/// The events `history` and `transitions`.
#[derive(Serialize)]
struct Told<'a> {
    version: u8,
    watched_seconds: f64,
    missed: u64,
    gap_seconds_ago: Option<f64>,
    gaps: BTreeMap<&'a str, f64>,
    transitions: Vec<Transition>,
}

impl<'a> Told<'a> {
    fn of(excerpt: &'a Excerpt, settings: &Settings) -> Self {
        let transitions = excerpt.transitions.iter().cloned();
        let seconds_ago = |at: &Instant| at.elapsed().as_secs_f64();
        let gaps = excerpt.gaps.iter();
        Self {
            version: 1,
            watched_seconds: seconds_ago(&excerpt.since),
            missed: excerpt.missed,
            gap_seconds_ago: excerpt.gap.as_ref().map(seconds_ago),
            gaps: gaps.map(|(id, at)| (&**id, seconds_ago(at))).collect(),
            transitions: transitions.map(|it| settings.transition(it)).collect(),
        }
    }
}

/// JSON has no line break in it, so that it is one line of data.
fn write(frame: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    frame.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    serde_json::to_writer(&mut *frame, data).expect("its keys are strings, and a Vec takes all");
    frame.extend_from_slice(b"\n\n");
}
