//! The state gauges that a crate publishes with its feature `metrics`.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// The gauges of one breaker, published under its name.
#[derive(Clone)]
pub(super) struct Gauges {
    name: String,
}

#[derive(Clone, Default)]
struct Published(Arc<Mutex<HashMap<Key, Arc<AtomicU64>>>>);

static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
    let published = Published::default();
    metrics::set_global_recorder(published.clone()).expect("the only recorder");
    published
});

impl Gauges {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        LazyLock::force(&PUBLISHED);
        Self {
            name: format!("breaker-{}", NUMBER.fetch_add(1, Relaxed)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn read(&self) -> Vec<bool> {
        let published = PUBLISHED.0.lock().expect("nothing here panics");
        published
            .iter()
            .filter(|(key, _)| key.labels().any(|label| label.value() == self.name))
            .map(|(_, gauge)| f64::from_bits(gauge.load(Relaxed)) > 0.5)
            .collect()
    }
}

/// Records gauges only.
impl Recorder for Published {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.0.lock().expect("nothing here panics");
        Gauge::from_arc(Arc::clone(gauges.entry(key.clone()).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
