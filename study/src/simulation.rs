//! Simulates ten minutes of two hundred calls a second, in paused time.

use std::time::{self, Duration};

use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, interval},
};
use tower::ServiceExt;

use crate::world::{Client, Source, TIMEOUT, Trouble, Visit, World};

pub(crate) const LASTS: Duration = Duration::from_secs(600);
const BETWEEN_CALLS: Duration = Duration::from_millis(5);

/// The calls as seen by the callers and by the provider.
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    /// In order of their starts.
    pub(crate) visits: Vec<Visit>,
}

/// A call as its caller saw it.
pub(crate) struct Call {
    /// The time since the start of the simulation.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    /// The provider that answered, if any.
    pub(crate) answer: Option<Source>,
}

impl Call {
    pub(crate) fn ended(&self) -> Duration {
        self.began + self.took
    }

    pub(crate) fn paid_the_timeout(&self) -> bool {
        self.took >= TIMEOUT
    }
}

pub(crate) fn simulate<C: Client>(trouble: Trouble, design: fn(&World) -> C) -> Record {
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime without I/O").block_on(async {
        let (world, on_the_clock) = (World::new(trouble), time::Instant::now());
        let calls = call(design(&world)).await;
        assert_eq!(
            on_the_clock.elapsed(),
            world.now(),
            "the system clock, which the peers read, must follow tokio's"
        );
        let visits = world.visits();
        Record { calls, visits }
    })
}

/// Starts each call in a task of its own, whether or not earlier ones have ended.
async fn call(client: impl Client) -> Vec<Call> {
    let start = Instant::now();
    let mut ticks = interval(BETWEEN_CALLS);
    let mut callers = JoinSet::new();
    for _ in 0..LASTS.as_millis() / BETWEEN_CALLS.as_millis() {
        ticks.tick().await;
        let client = client.clone();
        callers.spawn(async move {
            let called = Instant::now();
            let answer = client.oneshot(()).await.ok();
            Call {
                began: called - start,
                took: called.elapsed(),
                answer,
            }
        });
    }
    callers.join_all().await
}
