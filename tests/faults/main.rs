//! Faults of our own: whatever is handed to this crate may panic, wherever it is used; runtimes end, and
//! clocks leap. It costs the call that is struck, and nothing else.
//!
//! | what is at fault | shown in |
//! |---|---|
//! | the service, its future, the request, the error, the classifier, the key, the caller | `calls.rs` |
//! | what a chain is given | `chains.rs` |
//! | bodies, and what looks at them | `bodies.rs` |
//! | listeners and wakers | `listeners.rs` |
//! | checks; most of them are in `tests/probe`, as are probes that are dropped in mid-round | `checks.rs` |
//! | the runtime | `runtimes.rs` |
//! | the clock; that on the wall is in `tests/wall_clock.rs` | `clocks.rs` |
//!
//! That nothing is left of it in memory is shown in `tests/leaks.rs`.

#[cfg(feature = "http")]
mod bodies;
mod calls;
mod chains;
mod checks;
mod clocks;
mod listeners;
mod runtimes;

#[path = "../rig/mod.rs"]
mod rig;

use std::{
    error::Error,
    fmt,
    future::{Pending, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use rig::{Rig, received};
use tokio::time::advance;
use tokio_test::task;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{BoxError, HealthLayer, Policy, State};

/// How long the slot of a trial that was dropped is taken.
const PAUSE: Duration = Duration::from_secs(1);

// What strikes.

struct Fault;

fn strike() -> ! {
    panic_any(Fault)
}

/// Strikes when it is cloned.
struct StrikesInClone;

impl Clone for StrikesInClone {
    fn clone(&self) -> Self {
        strike()
    }
}

/// Strikes when it, or a clone, is dropped; once, since nobody survives a second panic in the midst of the first.
#[derive(Clone, Default)]
struct StrikesInDrop {
    has_struck: Arc<AtomicBool>,
}

impl Drop for StrikesInDrop {
    fn drop(&mut self) {
        if !self.has_struck.swap(true, SeqCst) {
            strike();
        }
    }
}

/// An error that strikes when one part of it is looked at.
#[derive(Clone, Copy)]
struct Untellable(Part);

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Display,
    Debug,
    Source,
}

impl Part {
    const ALL: [Self; 3] = [Self::Display, Self::Debug, Self::Source];
}

impl Untellable {
    fn is_looked_at(self, part: Part) {
        if self.0 == part {
            strike();
        }
    }
}

impl fmt::Display for Untellable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_looked_at(Part::Display);
        // As tower's timeout says, which is known by what its `Debug` prints.
        f.write_str("request timed out")
    }
}

impl fmt::Debug for Untellable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_looked_at(Part::Debug);
        f.write_str("Untellable")
    }
}

impl Error for Untellable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.is_looked_at(Part::Source);
        None
    }
}

/// What is panicked with, and panics with another when it is dropped, until all its heads are off.
struct Hydra {
    heads: u32,
}

impl Hydra {
    fn strike() -> ! {
        panic_any(Self { heads: 3 })
    }
}

impl Drop for Hydra {
    fn drop(&mut self) {
        if let Some(heads) = self.heads.checked_sub(1) {
            panic_any(Self { heads });
        }
    }
}

// What becomes of it.

/// Has a fault strike where a provider is on trial, and sees that it does not outlast the trial.
async fn costs_one_trial(fault: impl FnOnce(&Rig)) {
    let rig = Rig::half_open(Policy::new()).await;
    let mut transitions = rig.cache.subscribe();

    let caught = catch_unwind(AssertUnwindSafe(|| fault(&rig)));
    assert!(caught.expect_err("it strikes").is::<Fault>());

    assert_eq!(rig.state(), State::HalfOpen);
    assert!(rig.wait() <= PAUSE, "its slot is free, or soon will be");
    advance(PAUSE).await;
    assert_well(&rig);
    let heard = received(&mut transitions).into_iter();
    let heard: Vec<_> = heard.map(|transition| transition.to).collect();
    assert_eq!(heard, [State::Closed, State::Open]);
}

/// Calls are judged as ever: a trial closes the breaker, and two failures trip it.
#[track_caller]
fn assert_well(rig: &Rig) {
    assert_eq!(rig.state(), State::HalfOpen);
    call(rig, answer(Ok(())));
    assert_eq!(rig.state(), State::Closed);
    call(rig, answer(Err("down")));
    assert_eq!(rig.health().consecutive_failures, 1);
    call(rig, answer(Err("down")));
    assert_eq!(rig.state(), State::Open);
}

// Calls.

/// Calls a service through the provider's layer, and gives up where it does not answer at once.
#[track_caller]
fn call(rig: &Rig, service: impl Service<(), Response = (), Error = BoxError>) {
    give_up(layer(rig).layer(service), ());
}

fn layer(rig: &Rig) -> HealthLayer {
    HealthLayer::new(rig.provider.clone())
}

/// Calls a service, and gives up where it does not answer at once.
#[track_caller]
fn give_up<S: Service<Req>, Req>(service: S, request: Req) {
    drop(task::spawn(service.oneshot(request)).poll());
}

fn answer(
    result: Result<(), &'static str>,
) -> impl Service<(), Response = (), Error = BoxError> + Clone {
    service_fn(move |()| ready(result.map_err(BoxError::from)))
}

/// A service that does as it is told when it is asked whether it is ready.
struct Readiness<F>(F);

impl<F> Service<()> for Readiness<F>
where
    F: FnMut() -> Poll<Result<(), BoxError>>,
{
    type Response = ();
    type Error = BoxError;
    type Future = Pending<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        (self.0)()
    }

    fn call(&mut self, (): ()) -> Self::Future {
        pending()
    }
}
