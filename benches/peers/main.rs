//! The cost of a breaker for each call, compared with its peers in one run: `cargo bench -p benches --bench peers`.
//!
//! The inner service is always ready and answers at once, so everything above `bare` is the breaker's cost. Times are of
//! one call, from `poll_ready` to the answer.

mod by_rate;
mod in_a_row;
mod references;
mod services;

use std::{
    fmt::{self, Debug},
    hint, iter,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use tokio::runtime::Runtime;
use tower::Service;
use tower_health::{
    Permit, Policy, Trip,
    error::{self, CircuitOpen},
};

use self::{
    references::{Leaked, PerClone, Reads, Shared, Striped},
    services::{ILL, OPEN_FOR, WELL, Waits, guarded},
};

criterion_main!(benches);
criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = closed, waiting, failure_rate, failing, refused, a_permit_alone, references
}

/// How a service is called repeatedly.
#[derive(Clone, Copy)]
enum Caller {
    One,
    /// On two threads at once, each with its own clone of the service.
    Two,
    /// With a clone for each call, as in `oneshot`.
    OneCloning,
    TwoCloning,
}

impl Caller {
    const ALL: [Self; 4] = [Self::One, Self::Two, Self::OneCloning, Self::TwoCloning];
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one thread",
            Self::Two => "two threads",
            Self::OneCloning => "a clone for each call",
            Self::TwoCloning => "a clone for each call, two threads",
        })
    }
}

/// Two failures in a row would trip, but each call succeeds.
fn closed(criterion: &mut Criterion) {
    for caller in Caller::ALL {
        let mut table = Table::new(criterion, "closed", caller);
        table.row("bare", WELL);
        table.row("tower-health", in_a_row::health(2, WELL));
        table.row("failsafe", in_a_row::failsafe(2, WELL));
        // It supports only the rate of the last hundred calls.
        table.row("recloser", by_rate::recloser(WELL));
        table.row("tower-resilience", in_a_row::resilience(2, WELL));
    }
}

/// Closed; the answer comes at the second poll.
fn waiting(criterion: &mut Criterion) {
    for caller in [Caller::One, Caller::Two] {
        let mut table = Table::new(criterion, "waiting", caller);
        table.row("bare", Waits);
        table.row("tower-health", guarded(Policy::new(), Waits));
        let releasing = Policy::new().release_on_open(true);
        table.row("… with `release_on_open`", guarded(releasing, Waits));
        let timed = Policy::new().trip(Trip::default().slow_call(OPEN_FOR));
        table.row("… with `slow_call`", guarded(timed, Waits));
    }
}

/// Half of the calls of a window would trip, but each call succeeds.
fn failure_rate(criterion: &mut Criterion) {
    for caller in [Caller::One, Caller::Two] {
        let mut table = Table::new(criterion, "failure rate", caller);
        table.row("bare", WELL);
        table.row("tower-health", by_rate::health(WELL));
        table.row("failsafe", by_rate::failsafe(WELL));
        table.row("recloser", by_rate::recloser(WELL));
        table.row("tower-resilience", by_rate::resilience(WELL));
    }
}

/// Each call fails, but the breaker never trips.
fn failing(criterion: &mut Criterion) {
    let mut table = Table::new(criterion, "failing", Caller::One);
    table.row("bare", ILL);
    table.row("tower-health", in_a_row::health(u32::MAX, ILL));
    table.row("failsafe", in_a_row::failsafe(u32::MAX, ILL));
    table.row("recloser", by_rate::recloser_that_never_trips(ILL));
    table.row("tower-resilience", in_a_row::resilience(u32::MAX, ILL));
}

/// The breaker is open.
fn refused(criterion: &mut Criterion) {
    for caller in [Caller::One, Caller::Two] {
        let mut table = Table::new(criterion, "refused", caller);
        let health = opened(in_a_row::health(2, ILL), |error| {
            error::find::<CircuitOpen>(&**error).is_some()
        });
        table.row("tower-health", health);
        let failsafe = opened(in_a_row::failsafe(2, ILL), |error| {
            matches!(error, failsafe::Error::Rejected)
        });
        table.row("failsafe", failsafe);
        let recloser = opened(by_rate::recloser(ILL), |error| {
            matches!(error, recloser::Error::Rejected)
        });
        table.row("recloser", recloser);
        // Not tower-resilience: a clone of its service is not ready while its breaker is open.
    }
}

/// A permit without a service: one admission and one outcome.
fn a_permit_alone(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("a permit alone");
    let health = in_a_row::health(2, WELL);
    table.bench_function("admitted", |bencher| {
        let provider = hint::black_box(health.provider());
        bencher.iter(|| provider.admit().map(Permit::success).is_ok());
    });
    let health = in_a_row::health(2, WELL);
    while health.provider().is_healthy() {
        health.provider().mark_unhealthy("down");
    }
    table.bench_function("refused", |bencher| {
        let provider = hint::black_box(health.provider());
        bencher.iter(|| provider.admit().is_err());
    });
}

/// Ways to keep a breaker alive until a call has ended; see the module.
fn references(criterion: &mut Criterion) {
    for caller in Caller::ALL {
        let mut table = Table::new(criterion, "references", caller);
        table.row("leaked", Reads(Leaked::new()));
        table.row("shared", Reads(Shared::default()));
        table.row("a count per clone", Reads(PerClone::default()));
        table.row("striped counts", Reads(Striped::new()));
    }
}

struct Table<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    caller: Caller,
}

impl<'a> Table<'a> {
    fn new(criterion: &'a mut Criterion, title: &str, caller: Caller) -> Self {
        let group = criterion.benchmark_group(format!("{title}, {caller}"));
        Self { group, caller }
    }

    fn row<S>(&mut self, name: &str, service: S)
    where
        S: Service<(), Error: Debug> + Clone + Send,
    {
        let caller = self.caller;
        self.group.bench_function(name, move |bencher| {
            bencher.iter_custom(|calls| match caller {
                Caller::One => on_threads(1, &service, calls, is_ok),
                Caller::Two => on_threads(2, &service, calls, is_ok),
                Caller::OneCloning => on_threads(1, &service, calls, is_clone_ok),
                Caller::TwoCloning => on_threads(2, &service, calls, is_clone_ok),
            });
        });
    }
}

/// Returns the time of the slowest of `threads`, which start together and each make `calls`.
fn on_threads<S>(
    threads: usize,
    service: &S,
    calls: u64,
    call: impl Fn(&mut S) -> bool + Sync,
) -> Duration
where
    S: Clone + Send,
{
    let start = Barrier::new(threads);
    // For the breakers' timers.
    let runtime = Runtime::new().expect("a runtime");
    let calls_of = |mut service: S| {
        let _timers = runtime.enter();
        start.wait();
        let began = Instant::now();
        for _ in 0..calls {
            hint::black_box(call(&mut service));
        }
        began.elapsed()
    };
    thread::scope(|scope| {
        let running: Vec<_> = iter::repeat_n(service, threads)
            .map(|service| {
                let service = service.clone();
                scope.spawn(move || calls_of(service))
            })
            .collect();
        let times = running.into_iter().map(|thread| thread.join().unwrap());
        times.max().unwrap()
    })
}

fn is_ok<S: Service<(), Error: Debug>>(service: &mut S) -> bool {
    call(service).is_ok()
}

fn is_clone_ok<S: Service<(), Error: Debug> + Clone>(service: &mut S) -> bool {
    call(&mut service.clone()).is_ok()
}

/// Calls the service until its breaker is open.
fn opened<S>(mut service: S, is_refusal: impl Fn(&S::Error) -> bool) -> S
where
    S: Service<(), Error: Debug>,
{
    while !call(&mut service).is_err_and(|error| is_refusal(&error)) {}
    service
}

// Inlined, because moving the answer would be measured too.
#[inline]
fn call<S>(service: &mut S) -> Result<S::Response, S::Error>
where
    S: Service<(), Error: Debug>,
{
    // Otherwise the compiler would optimize the bare service away.
    let service = hint::black_box(service);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut context) else {
        unreachable!("nothing here is ever busy");
    };
    let mut response = pin!(service.call(()));
    loop {
        if let Poll::Ready(result) = response.as_mut().poll(&mut context) {
            return result;
        }
        // Only pending services get here, and tower-resilience, because its lock is asynchronous.
        hint::spin_loop();
    }
}
