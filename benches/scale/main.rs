//! How the cost of one thing grows with the number of all: `cargo bench --bench scale`.
//!
//! Each figure is that of one item, and the median of some runs: what is linear as a whole stays level
//! from left to right.

mod calls;
mod providers;
mod refusals;
mod subscribers;

use std::{
    array, iter,
    sync::LazyLock,
    time::{Duration, Instant},
};

const RUNS: usize = 7;

const MOST_PROVIDERS: usize = 100_000;

/// As [`per_authority`](tower_health::HealthLayer::per_authority) makes them, in no order.
static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let numbers = scattered(MOST_PROVIDERS);
    numbers
        .map(|number| format!("https://host-{number:06}.example.com"))
        .collect()
});

fn main() {
    LazyLock::force(&IDS);
    providers::print();
    calls::print();
    subscribers::print();
    refusals::print();
}

/// A table with a column for each size.
struct Table<const COLUMNS: usize> {
    sizes: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    fn new(title: &str, sizes: [usize; COLUMNS]) -> Self {
        println!();
        print_line(title, sizes.map(|size| size.to_string()));
        Self { sizes }
    }

    /// A figure for each size.
    fn row(&self, what: &str, figure: impl FnMut(usize) -> f64) {
        let figures = self.sizes.map(figure);
        print_line(what, figures.map(|figure| format!("{figure:.1}")));
    }

    /// Nanoseconds an item, where `run` tells the time of all of them.
    fn nanos(&self, what: &str, mut run: impl FnMut(usize) -> Duration) {
        self.row(what, |size| nanos(median(|| run(size))) / count(size));
    }
}

fn print_line<const COLUMNS: usize>(what: &str, cells: [String; COLUMNS]) {
    let cells = cells.map(|cell| format!("{cell:>10}"));
    println!("{what:<48}{}", cells.concat());
}

fn median(run: impl FnMut() -> Duration) -> Duration {
    let mut runs = iter::repeat_with(run);
    let mut times: [_; RUNS] = array::from_fn(|_| runs.next().expect("there is no end of them"));
    times.sort();
    times[RUNS / 2]
}

fn timed<R>(what: impl FnOnce() -> R) -> Duration {
    let began = Instant::now();
    let result = what();
    let time = began.elapsed();
    drop(result);
    time
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(items: usize) -> f64 {
    items as f64
}

/// The numbers below `count`, each once and far from the one before, where that is a power of ten:
/// memory that is walked through in order flatters.
fn scattered(count: usize) -> impl Iterator<Item = usize> + Clone {
    (0..count).map(move |number| number * 7919 % count)
}
