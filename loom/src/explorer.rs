//! Tries every order.

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

/// All the ends that a `model` has.
pub(crate) fn ends<R>(model: impl Fn() -> R + Send + Sync + 'static) -> HashSet<R>
where
    R: Eq + Hash + Send + 'static,
{
    explored(model, None)
}

/// All the ends that a `model` has where threads that could go on are stopped so often at most.
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
    // loom's threads are all on this one, so that they have its clock.
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

/// Whatever the environment says.
fn explorer(preemptions: Option<usize>) -> Builder {
    let mut explorer = Builder::new();
    explorer.preemption_bound = preemptions;
    explorer.max_permutations = None;
    explorer.max_duration = None;
    explorer.checkpoint_file = None;
    explorer
}

/// Two threads with one provider.
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

/// Three threads with one provider.
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

/// Moves the clock.
pub(crate) fn advance(time: Duration) {
    // The clock moves at once; what it waits for then is a turn of the runtime.
    let advanced = pin!(tokio::time::advance(time));
    let _ = advanced.poll(&mut Context::from_waker(Waker::noop()));
}
