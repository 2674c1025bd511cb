//! Chaos over real sockets: three providers whose servers misbehave at random under steady load, and
//! what holds all the while.
//!
//! | promise | asserted |
//! |---|---|
//! | no answer is wrong, or spliced of two | of each frame |
//! | nobody waits past the deadline, or for a body that is idle | of each call, and of each frame |
//! | a call has one outcome, and asks no provider twice | as it ends; when all have |
//! | no more trials are in flight than allowed | of each trial, beneath the layer |
//! | memory is bounded | by the tasks, of which there are few each second, and none at the end |
//! | transitions are told in order, none twice | of each transition |
//! | all providers are closed again in time | once the chaos is over |
//!
//! What happens is drawn from a seed: who misbehaves when and how, how many trials there are, what the
//! chain does at its end, which callers walk away. How threads and packets interleave is not.
//!
//! - Run a seed again: `CHAOS_SEED=7 cargo test --test chaos`
//! - Run more than three: `CHAOS_SEEDS=20 cargo test --test chaos`
#![cfg(feature = "http")]

mod caller;
mod chain;
mod faults;
mod run;
#[path = "../sockets/server.rs"]
mod server;

use std::{env, thread, time::Duration};

use tokio::runtime::Builder;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// So that each has as much of the machine as its timeouts need.
const SEEDS_AT_ONCE: usize = 4;

#[test]
fn promises_hold_whatever_the_servers_do() {
    for seeds in seeds().chunks(SEEDS_AT_ONCE) {
        thread::scope(|scope| {
            let start = |&seed| (seed, scope.spawn(move || run(seed)));
            let runs: Vec<_> = seeds.iter().map(start).collect();
            for (seed, run) in runs {
                let again = format!("run it again: CHAOS_SEED={seed} cargo test --test chaos");
                run.join().expect(&again);
            }
        });
    }
}

fn run(seed: u64) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(run::chaos(seed));
}

/// The one that is asked for; or some that are always the same, and one that is always another.
fn seeds() -> Vec<u64> {
    let asked = |name| Some(env::var(name).ok()?.parse().expect("a number"));
    match asked("CHAOS_SEED") {
        Some(seed) => vec![seed],
        None => (1..asked("CHAOS_SEEDS").unwrap_or(3))
            .chain([fastrand::u64(1_000..1_000_000)])
            .collect(),
    }
}
