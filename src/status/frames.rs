//! Event frames, shared by all subscribers, because building one costs time per provider.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use super::{
    chains::Document,
    history::{Cursor, Excerpt, History},
    settings::Settings,
};
use crate::{
    cache::{HealthCache, Snapshot},
    telemetry::LogView,
    util::time::after,
    view::Transition,
};

/// Minimum time between two frames.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// Builds the frames of a service. The first subscriber that needs a frame builds it; the others share it until health
/// changes.
#[derive(Debug)]
pub(super) struct Frames {
    settings: Arc<Settings>,
    history: Arc<History>,
    latest: Mutex<Option<Latest>>,
}

/// The bytes sent to a subscriber, with their times.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) data: Bytes,
    /// When it was built.
    pub(super) at: Instant,
    /// When the next frame is sent, even without a change.
    pub(super) due: Instant,
    /// The position in the history at which this frame ends.
    pub(super) end: Cursor,
}

#[derive(Debug)]
struct Latest {
    at: Instant,
    due: Instant,
    /// End of the history, overrides, and number of providers at build time. The frame is current until one changes.
    seen: Cursor,
    overrides: watch::Receiver<()>,
    providers: usize,
    /// The events that every frame contains: `health`, `chains` and `fleet`.
    health: Bytes,
    /// Complete frames, by the position that the subscriber had read to.
    frames: BTreeMap<Option<Cursor>, Frame>,
}

impl Frames {
    pub(super) fn of(settings: Arc<Settings>, history: Arc<History>) -> Self {
        Self {
            settings,
            history,
            latest: Mutex::new(None),
        }
    }

    /// The earliest time at which a subscriber that got a frame at `sent` can get the next one.
    pub(super) fn next_after(&self, sent: Instant) -> Instant {
        let end = self.history.end();
        match &*self.latest() {
            Some(latest) if latest.at > sent && latest.is_current(end) => sent,
            Some(latest) => latest.at + MIN_INTERVAL,
            None => sent,
        }
    }

    /// Returns the current frame for a subscriber that has read up to `read`.
    pub(super) fn frame(&self, cache: &HealthCache, read: Option<Cursor>) -> Frame {
        if let Some(frame) = self.cached(cache, read) {
            return frame;
        }
        // Built without the lock, because a snapshot may publish transitions, which wakes subscribers.
        let built = self.build(cache, read.is_none());
        let mut latest = self.latest();
        latest
            .insert(built)
            .frame(read, &self.history, &self.settings)
    }

    fn cached(&self, cache: &HealthCache, read: Option<Cursor>) -> Option<Frame> {
        let end = self.history.end();
        let mut latest = self.latest();
        let current = latest.as_mut().filter(|latest| {
            let is_new = latest.at.elapsed() < MIN_INTERVAL;
            is_new && latest.is_current(end) && latest.providers == cache.len()
        });
        current.map(|latest| latest.frame(read, &self.history, &self.settings))
    }

    /// Builds a frame. A new subscriber's first frame does not delay the planned frame of the others.
    fn build(&self, cache: &HealthCache, is_first: bool) -> Latest {
        let (seen, overrides) = (self.history.end(), cache.overrides());
        let snapshot = self.settings.snapshot(cache);
        let soonest = snapshot.providers.iter().filter_map(|it| it.retry_in).min();
        let refresh = self.settings.refresh;
        let pause = soonest.map_or(refresh, |soonest| soonest.min(refresh));
        let due = after(snapshot.at, pause.max(MIN_INTERVAL));
        let planned = self.latest().as_ref().map(|latest| latest.due);
        let planned = planned.filter(|planned| is_first && *planned > snapshot.at);
        Latest {
            at: snapshot.at,
            due: planned.map_or(due, |planned| planned.min(due)),
            seen,
            overrides,
            providers: cache.len(),
            health: health(&snapshot, &cache.chains(), self.settings.fleet()),
            frames: BTreeMap::new(),
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    fn is_current(&self, end: Cursor) -> bool {
        // An error means that the cache was dropped.
        end == self.seen && !self.overrides.has_changed().unwrap_or(true)
    }

    fn frame(&mut self, read: Option<Cursor>, history: &History, settings: &Settings) -> Frame {
        let (at, due) = (self.at, self.due);
        let health = &self.health;
        let frame = self.frames.entry(read).or_insert_with(|| {
            let excerpt = history.after(read.unwrap_or_default());
            Frame {
                data: encode(read.is_none(), &excerpt, settings, health),
                at,
                due,
                end: excerpt.end,
            }
        });
        frame.clone()
    }
}

/// The health comes first, because the page needs its rows for the other events.
fn health(snapshot: &Snapshot, chains: &[LogView], fleet: Option<Vec<u8>>) -> Bytes {
    let mut events = Vec::new();
    write(&mut events, "health", snapshot);
    write(&mut events, "chains", &Document::of(chains));
    if let Some(fleet) = fleet {
        events.extend_from_slice(b"event: fleet\ndata: ");
        events.extend_from_slice(&fleet);
        events.extend_from_slice(b"\n\n");
    }
    events.into()
}

fn encode(is_first: bool, excerpt: &Excerpt, settings: &Settings, health: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    if is_first {
        // The browser reconnects after this many milliseconds.
        frame.extend_from_slice(b"retry: 1000\n");
    }
    if is_first || !excerpt.transitions.is_empty() {
        let name = if is_first { "history" } else { "transitions" };
        write(&mut frame, name, &HistoryEvent::of(excerpt, settings));
    }
    frame.extend_from_slice(health);
    frame.into()
}

/// The data of the events `history` and `transitions`.
#[derive(Serialize)]
struct HistoryEvent<'a> {
    version: u8,
    watched_seconds: f64,
    missed: u64,
    gap_seconds_ago: Option<f64>,
    gaps: BTreeMap<&'a str, f64>,
    transitions: Vec<Transition>,
}

impl<'a> HistoryEvent<'a> {
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

/// Appends one event. `serde_json` writes no line breaks, so the JSON fits on one `data` line.
fn write(frame: &mut Vec<u8>, name: &str, data: &impl Serialize) {
    frame.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    serde_json::to_writer(&mut *frame, data)
        .expect("event JSON has only string keys, and writing to a Vec cannot fail");
    frame.extend_from_slice(b"\n\n");
}
