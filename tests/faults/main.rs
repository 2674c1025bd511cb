//! Faults in foreign code: anything handed to this crate may panic, wherever it is used; runtimes end, and clocks leap.
//! A fault costs the call in which it happens, and nothing else.
//!
//! | fault in | tested in |
//! |---|---|
//! | the service, its future, the request, the error, the classifier, the key, the caller | `calls.rs` |
//! | the parts of a chain | `chains.rs` |
//! | bodies, and closures that inspect them | `bodies.rs` |
//! | listeners and wakers | `listeners.rs` |
//! | checks; most of them, and probes dropped during a round, are in `tests/probe` | `checks.rs` |
//! | the runtime | `runtimes.rs` |
//! | the clock; the system clock is in `tests/wall_clock.rs` | `clocks.rs` |
//!
//! `tests/leaks.rs` asserts that a fault leaks no memory.

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

/// How long a dropped trial keeps its slot.
const PAUSE: Duration = Duration::from_secs(1);

// Faults.

struct Fault;

fn strike() -> ! {
    panic_any(Fault)
}

/// Strikes when cloned.
struct StrikesInClone;

impl Clone for StrikesInClone {
    fn clone(&self) -> Self {
        strike()
    }
}

/// Strikes when it or a clone is dropped, but once only: a second panic during the first would abort.
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

/// An error that strikes when this part of it is read.
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
        // The text of tower's timeout, which the crate recognizes by its `Debug` output.
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

/// A panic payload that panics with another when dropped, until it has no heads left.
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

// Assertions.

/// Runs a fault on a half-open provider, and asserts that it costs no more than the trial.
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

/// Asserts that calls are judged as usual: a trial closes the breaker, and two failures open it.
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

/// Calls a service through the provider's layer, and drops the call unless it answers at once.
#[track_caller]
fn call(rig: &Rig, service: impl Service<(), Response = (), Error = BoxError>) {
    give_up(layer(rig).layer(service), ());
}

fn layer(rig: &Rig) -> HealthLayer {
    HealthLayer::new(rig.provider.clone())
}

/// Calls a service, and drops the call unless it answers at once.
#[track_caller]
fn give_up<S: Service<Req>, Req>(service: S, request: Req) {
    drop(task::spawn(service.oneshot(request)).poll());
}

fn answer(
    result: Result<(), &'static str>,
) -> impl Service<(), Response = (), Error = BoxError> + Clone {
    service_fn(move |()| ready(result.map_err(BoxError::from)))
}

/// A service whose readiness is the result of a closure.
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
