//! A manual clock for every crate.

use std::time::{Duration, Instant};

use tokio::{
    runtime::{self, EnterGuard, Runtime},
    time::{self, advance, sleep},
};

pub(crate) const MOMENT: Duration = Duration::from_millis(1);

/// Tokio's paused clock, which the system clock follows.
pub(crate) struct Clock(Runtime);

impl Clock {
    /// Requires that [`mad_turmoil`] has been started.
    pub(crate) fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let clock = Self(runtime.expect("without I/O there is nothing to fail"));
        clock.assert_followed();
        clock
    }

    fn assert_followed(&self) {
        let _entered = self.enter();
        let (tokios, systems) = (time::Instant::now(), Instant::now());
        self.pass(Duration::from_secs(1));
        assert_eq!(
            systems.elapsed(),
            tokios.elapsed(),
            "the clock of the system, by which the peers go, must follow tokio's"
        );
    }

    /// Makes this thread use the clock until the guard is dropped.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }

    /// Lets time pass while tasks run.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.block_on(sleep(time));
    }

    /// Advances the clock at once, by any time. No task runs in between.
    pub(crate) fn leap(&self, time: Duration) {
        self.0.block_on(advance(time));
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}
