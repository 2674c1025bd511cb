//! One frame for all viewers: it takes the longer to build the more providers there are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{
    history::{Bookmark, Excerpt, History},
    settings::Settings,
};
use crate::{
    cache::{HealthCache, Snapshot},
    util::time::after,
    view::Transition,
};

/// However much happens, no more often than that.
pub(super) const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// The frames of a service. Each is built by the first viewer that wants it, and sent to all that want one until
/// something happens.
#[derive(Debug)]
pub(super) struct Frames {
    settings: Arc<Settings>,
    history: Arc<History>,
    latest: Mutex<Option<Latest>>,
}

/// What a viewer is sent.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) data: Bytes,
    /// When it was built.
    pub(super) at: Instant,
    /// When there is another, even if nothing happens.
    pub(super) due: Instant,
    /// How far the viewer has read with it.
    pub(super) end: Bookmark,
}

#[derive(Debug)]
struct Latest {
    at: Instant,
    due: Instant,
    /// What had happened before it was built: where the history ended, the overrides, the number of providers.
    seen: Bookmark,
    overrides: watch::Receiver<()>,
    providers: usize,
    /// The event `health`, and the whole frames of those who had read so far.
    health: Bytes,
    whole: BTreeMap<Option<Bookmark>, Frame>,
}

impl Frames {
    pub(super) fn of(settings: Arc<Settings>, history: Arc<History>) -> Self {
        Self {
            settings,
            history,
            latest: Mutex::new(None),
        }
    }

    /// From when on a viewer can have another frame than the one of `sent`.
    pub(super) fn next_after(&self, sent: Instant) -> Instant {
        let end = self.history.end();
        match &*self.latest() {
            Some(latest) if latest.at > sent && latest.is_of(end) => sent,
            Some(latest) => latest.at + AT_MOST_EVERY,
            None => sent,
        }
    }

    /// The frame of now for a viewer that has read so far.
    pub(super) fn frame(&self, cache: &HealthCache, read: Option<Bookmark>) -> Frame {
        if let Some(frame) = self.known(cache, read) {
            return frame;
        }
        // Not under the lock: a snapshot announces what time has changed.
        let built = self.build(cache, read.is_none());
        let mut latest = self.latest();
        latest
            .insert(built)
            .frame(read, &self.history, &self.settings)
    }

    fn known(&self, cache: &HealthCache, read: Option<Bookmark>) -> Option<Frame> {
        let end = self.history.end();
        let mut latest = self.latest();
        let known = latest.as_mut().filter(|latest| {
            let is_new = latest.at.elapsed() < AT_MOST_EVERY;
            is_new && latest.is_of(end) && latest.providers == cache.len()
        });
        known.map(|latest| latest.frame(read, &self.history, &self.settings))
    }

    /// A first frame does not put off the next one of the others.
    fn build(&self, cache: &HealthCache, is_first: bool) -> Latest {
        let (seen, overrides) = (self.history.end(), cache.overrides());
        let snapshot = self.settings.snapshot(cache);
        let soonest = snapshot.providers.iter().filter_map(|it| it.retry_in).min();
        let refresh = self.settings.refresh;
        let pause = soonest.map_or(refresh, |soonest| soonest.min(refresh));
        let due = after(snapshot.at, pause.max(AT_MOST_EVERY));
        let planned = self.latest().as_ref().map(|latest| latest.due);
        let planned = planned.filter(|planned| is_first && *planned > snapshot.at);
        Latest {
            at: snapshot.at,
            due: planned.map_or(due, |planned| planned.min(due)),
            seen,
            overrides,
            providers: cache.len(),
            health: health(&snapshot),
            whole: BTreeMap::new(),
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// Whether nothing has happened since.
    fn is_of(&self, end: Bookmark) -> bool {
        // An error says that the cache is gone.
        end == self.seen && !self.overrides.has_changed().unwrap_or(true)
    }

    fn frame(&mut self, read: Option<Bookmark>, history: &History, settings: &Settings) -> Frame {
        let (at, due) = (self.at, self.due);
        let health = &self.health;
        let whole = self.whole.entry(read).or_insert_with(|| {
            let excerpt = history.after(read.unwrap_or_default());
            Frame {
                data: whole(read.is_none(), &excerpt, settings, health),
                at,
                due,
                end: excerpt.end,
            }
        });
        whole.clone()
    }
}

fn health(snapshot: &Snapshot) -> Bytes {
    let mut event = Vec::new();
    write(&mut event, "health", snapshot);
    event.into()
}

fn whole(is_first: bool, excerpt: &Excerpt, settings: &Settings, health: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    if is_first {
        // The browser comes back after so many milliseconds.
        frame.extend_from_slice(b"retry: 1000\n");
    }
    if is_first || !excerpt.transitions.is_empty() {
        let name = if is_first { "history" } else { "transitions" };
        write(&mut frame, name, &Told::of(excerpt, settings));
    }
    frame.extend_from_slice(health);
    frame.into()
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
