//! Time that passes when it is told to, for every crate.

use std::time::{Duration, Instant};

use tokio::{
    runtime::{self, EnterGuard, Runtime},
    time::{self, advance, sleep},
};

/// A paused clock of tokio's, which that of the system follows.
pub(crate) struct Clock(Runtime);

impl Clock {
    /// [`mad_turmoil`] must have been set going.
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

    /// What is done meanwhile, in this thread, is done at this clock's time.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.enter()
    }

    /// Lets time pass, and tasks do what they do then.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.block_on(sleep(time));
    }

    /// The same at once, however long it is: nothing happens in between.
    pub(crate) fn leap(&self, time: Duration) {
        self.0.block_on(advance(time));
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}
