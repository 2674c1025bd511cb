//! Tables of figures, and their measurement.

use std::{
    array, iter,
    time::{Duration, Instant},
};

const RUNS: usize = 7;

/// A table with a column for each size.
pub(crate) struct Table<const COLUMNS: usize> {
    sizes: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(title: &str, sizes: [usize; COLUMNS]) -> Self {
        println!();
        print_line(title, sizes.map(|size| size.to_string()));
        Self { sizes }
    }

    /// Prints a figure for each size.
    pub(crate) fn row(&self, what: &str, figure: impl FnMut(usize) -> f64) {
        let figures = self.sizes.map(figure);
        print_line(what, figures.map(|figure| format!("{figure:.1}")));
    }

    /// Prints nanoseconds per item, where `run` returns the time of all items.
    pub(crate) fn nanos(&self, what: &str, mut run: impl FnMut(usize) -> Duration) {
        self.row(what, |size| nanos(median(|| run(size))) / count(size));
    }
}

fn print_line<const COLUMNS: usize>(what: &str, cells: [String; COLUMNS]) {
    let cells = cells.map(|cell| format!("{cell:>10}"));
    println!("{what:<48}{}", cells.concat());
}

pub(crate) fn median(run: impl FnMut() -> Duration) -> Duration {
    let mut runs = iter::repeat_with(run);
    let mut times: [_; RUNS] = array::from_fn(|_| runs.next().expect("there is no end of them"));
    times.sort();
    times[RUNS / 2]
}

pub(crate) fn timed<R>(what: impl FnOnce() -> R) -> Duration {
    let began = Instant::now();
    let result = what();
    let time = began.elapsed();
    drop(result);
    time
}

pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn count(items: usize) -> f64 {
    items as f64
}
