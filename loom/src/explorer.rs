//! Runs a model in every order of its threads.

use std::{
    collections::HashSet,
    hash::Hash,
    mem,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use loom::{model::Builder, thread};
use tokio::runtime;
use tower_health::Provider;

/// Returns all results of a `model`.
pub(crate) fn ends<R>(model: impl Fn() -> R + Send + Sync + 'static) -> HashSet<R>
where
    R: Eq + Hash + Send + 'static,
{
    explored(model, None)
}

/// Returns all results of a `model` with at most this number of preemptions.
pub(crate) fn ends_within<R>(
    preemptions: usize,
    model: impl Fn() -> R + Send + Sync + 'static,
) -> HashSet<R>
where
    R: Eq + Hash + Send + 'static,
{
    explored(model, Some(preemptions))
}

fn explored<R>(
    model: impl Fn() -> R + Send + Sync + 'static,
    preemptions: Option<usize>,
) -> HashSet<R>
where
    R: Eq + Hash + Send + 'static,
{
    // All of loom's threads run on this thread, so they share its clock.
    let clock = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let _stopped = clock.enter();

    let ends = Arc::new(Mutex::new(HashSet::new()));
    let found = Arc::clone(&ends);
    explorer(preemptions).check(move || {
        let end = model();
        found.lock().expect("no panic").insert(end);
    });
    let mut ends = ends.lock().expect("no panic");
    mem::take(&mut *ends)
}

/// Creates a builder with fixed limits, whatever loom's environment variables are.
fn explorer(preemptions: Option<usize>) -> Builder {
    let mut explorer = Builder::new();
    explorer.preemption_bound = preemptions;
    explorer.max_permutations = None;
    explorer.max_duration = None;
    explorer.checkpoint_file = None;
    explorer
}

/// Runs two threads with one provider.
pub(crate) fn race<A: 'static, B>(
    provider: &Provider,
    one: impl FnOnce(&Provider) -> A + 'static,
    other: impl FnOnce(&Provider) -> B,
) -> (A, B) {
    let shared = provider.clone();
    let one = thread::spawn(move || one(&shared));
    let other = other(provider);
    (one.join().expect("no panic"), other)
}

/// Runs three threads with one provider.
pub(crate) fn race_of_three<A: 'static, B: 'static, C>(
    provider: &Provider,
    one: impl FnOnce(&Provider) -> A + 'static,
    two: impl FnOnce(&Provider) -> B + 'static,
    three: impl FnOnce(&Provider) -> C,
) -> (A, B, C) {
    let shared = provider.clone();
    let one = thread::spawn(move || one(&shared));
    let (two, three) = race(provider, two, three);
    (one.join().expect("no panic"), two, three)
}

/// Advances the clock.
pub(crate) fn advance(time: Duration) {
    // The first poll advances the clock; the rest would only yield to the runtime.
    let advanced = pin!(tokio::time::advance(time));
    let _ = advanced.poll(&mut Context::from_waker(Waker::noop()));
}
