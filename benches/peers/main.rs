//! What a breaker costs a call, beside its peers, in one run: `cargo bench`.
//!
//! The inner service is always ready and answers at once, so that all above `bare` is the breaker.
//! Times are those of one call, from `poll_ready` to the answer.

mod by_rate;
mod in_a_row;
mod services;

use std::{
    fmt::Debug,
    hint,
    pin::pin,
    sync::Barrier,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use tower::Service;
use tower_health::error::{self, CircuitOpen};
use tower_resilience_circuitbreaker::CircuitBreakerError;

use self::services::{ILL, WELL};

criterion_main!(benches);
criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = closed, closed_on_two_threads, closed_with_a_clone_for_each_call, failure_rate, failing, refused
}

type Table<'a> = BenchmarkGroup<'a, WallTime>;

/// Two failures in a row would trip, but each call succeeds.
fn closed(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("closed");
    row(&mut table, "bare", WELL);
    row(&mut table, "tower-health", in_a_row::health(2, WELL));
    row(&mut table, "failsafe", in_a_row::failsafe(2, WELL));
    // It knows only the rate of the last hundred calls.
    row(&mut table, "recloser", by_rate::recloser(WELL));
    row(
        &mut table,
        "tower-resilience",
        in_a_row::resilience(2, WELL),
    );
}

/// The same on two threads at once, each with its own clone of the one service.
fn closed_on_two_threads(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("closed, two threads");
    row_on_two_threads(&mut table, "bare", WELL);
    row_on_two_threads(&mut table, "tower-health", in_a_row::health(2, WELL));
    row_on_two_threads(&mut table, "failsafe", in_a_row::failsafe(2, WELL));
    row_on_two_threads(&mut table, "recloser", by_rate::recloser(WELL));
    row_on_two_threads(
        &mut table,
        "tower-resilience",
        in_a_row::resilience(2, WELL),
    );
}

/// The same where each call has a clone of its own, as with `oneshot`.
fn closed_with_a_clone_for_each_call(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("closed, a clone for each call");
    row_of_clones(&mut table, "bare", WELL);
    row_of_clones(&mut table, "tower-health", in_a_row::health(2, WELL));
    row_of_clones(&mut table, "failsafe", in_a_row::failsafe(2, WELL));
    row_of_clones(&mut table, "recloser", by_rate::recloser(WELL));
    row_of_clones(
        &mut table,
        "tower-resilience",
        in_a_row::resilience(2, WELL),
    );
}

/// Half of the calls of a window would trip, but each call succeeds.
fn failure_rate(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("closed, failure rate");
    row(&mut table, "bare", WELL);
    row(&mut table, "tower-health", by_rate::health(WELL));
    row(&mut table, "failsafe", by_rate::failsafe(WELL));
    row(&mut table, "recloser", by_rate::recloser(WELL));
    row(&mut table, "tower-resilience", by_rate::resilience(WELL));
}

/// Each call fails, and no number of failures trips.
fn failing(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("failing");
    row(&mut table, "bare", ILL);
    row(&mut table, "tower-health", in_a_row::health(u32::MAX, ILL));
    row(&mut table, "failsafe", in_a_row::failsafe(u32::MAX, ILL));
    row(
        &mut table,
        "recloser",
        by_rate::recloser_that_never_trips(ILL),
    );
    row(
        &mut table,
        "tower-resilience",
        in_a_row::resilience(u32::MAX, ILL),
    );
}

/// The breaker is open.
fn refused(criterion: &mut Criterion) {
    let mut table = criterion.benchmark_group("refused");
    row(
        &mut table,
        "tower-health",
        opened(in_a_row::health(2, ILL), |error| {
            error::find::<CircuitOpen>(error).is_some()
        }),
    );
    row(
        &mut table,
        "failsafe",
        opened(in_a_row::failsafe(2, ILL), |error| {
            matches!(error, failsafe::Error::Rejected)
        }),
    );
    row(
        &mut table,
        "recloser",
        opened(by_rate::recloser(ILL), |error| {
            matches!(error, recloser::Error::Rejected)
        }),
    );
    row(
        &mut table,
        "tower-resilience",
        opened(
            in_a_row::resilience(2, ILL),
            CircuitBreakerError::is_circuit_open,
        ),
    );
}

fn row<S>(table: &mut Table, name: &str, mut service: S)
where
    S: Service<(), Error: Debug>,
{
    table.bench_function(name, |bencher| bencher.iter(|| call(&mut service)));
}

fn row_of_clones<S>(table: &mut Table, name: &str, service: S)
where
    S: Service<(), Error: Debug> + Clone,
{
    table.bench_function(name, move |bencher| {
        bencher.iter(|| call(&mut service.clone()));
    });
}

fn row_on_two_threads<S>(table: &mut Table, name: &str, service: S)
where
    S: Service<(), Error: Debug> + Clone + Send,
{
    table.bench_function(name, move |bencher| {
        bencher.iter_custom(|calls| on_two_threads(&service, calls));
    });
}

/// How long the slower of two threads takes for so many calls, both starting together.
fn on_two_threads<S>(service: &S, calls: u64) -> Duration
where
    S: Service<(), Error: Debug> + Clone + Send,
{
    let start = Barrier::new(2);
    let calls_of = |mut service: S| {
        start.wait();
        let began = Instant::now();
        for _ in 0..calls {
            let _ = hint::black_box(call(&mut service));
        }
        began.elapsed()
    };
    let (here, there) = (service.clone(), service.clone());
    thread::scope(|scope| {
        let other = scope.spawn(|| calls_of(there));
        calls_of(here).max(other.join().unwrap())
    })
}

/// Fails until the breaker is open.
fn opened<S>(mut service: S, is_refusal: impl Fn(&S::Error) -> bool) -> S
where
    S: Service<(), Error: Debug>,
{
    while !call(&mut service).is_err_and(|error| is_refusal(&error)) {}
    service
}

fn call<S>(service: &mut S) -> Result<S::Response, S::Error>
where
    S: Service<(), Error: Debug>,
{
    // Or the compiler would see through the bare service, and leave nothing of it.
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
        // Only tower-resilience gets here, whose lock is an asynchronous one.
        hint::spin_loop();
    }
}
