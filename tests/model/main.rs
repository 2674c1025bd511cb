//! Random sequences of steps, for which the crate must behave like a model of the design.

mod operation;
mod reference;
mod rules;
mod side_by_side;

use std::{cell::Cell, thread};

use operation::Step;
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner},
};

const CASES_PER_THREAD: u32 = 300;
const THREADS: usize = 2;
const MOST_STEPS: usize = 4_000;

#[test]
fn crate_and_model_agree_after_every_step() {
    let threads = [(); THREADS].map(|()| thread::spawn(run_random_steps));
    let steps: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
    assert!(steps >= 1_000_000);
}

/// Runs random steps, and returns their number.
///
/// # Panics
///
/// At the first disagreement, with the shortest sequence of steps found for it.
fn run_random_steps() -> usize {
    let regressions = FileFailurePersistence::WithSource("proptest-regressions");
    let mut runner = TestRunner::new(Config {
        cases: CASES_PER_THREAD,
        max_shrink_iters: 100_000,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(regressions)),
        ..Config::default()
    });
    let steps = vec(any::<[u8; 8]>().prop_map(Step::from), 1..=MOST_STEPS);
    let taken = Cell::new(0);
    let agreed = runner.run(&steps, |steps| {
        taken.set(taken.get() + steps.len());
        side_by_side::run(&steps).map_err(TestCaseError::fail)
    });
    agreed.unwrap_or_else(|disagreement| panic!("{disagreement}"));
    taken.get()
}
