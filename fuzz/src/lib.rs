//! Helpers of all targets.

mod script;

use std::cell::LazyCell;

use tokio::runtime::{Builder, Runtime};

pub use script::{Ending, Reset, Script};

thread_local! {
    static PAUSED: LazyCell<Runtime> = LazyCell::new(|| {
        let paused = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        paused.expect("a runtime")
    });
}

/// Runs a future in paused time. All inputs share one runtime.
pub fn paused<F: Future>(future: F) -> F::Output {
    PAUSED.with(|runtime| runtime.block_on(future))
}
