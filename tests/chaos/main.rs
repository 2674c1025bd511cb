//! Chaos over real sockets: three providers whose servers misbehave at random under steady load, and promises that hold
//! throughout.
//!
//! | promise | asserted |
//! |---|---|
//! | no answer is wrong, or mixed from two | for each frame |
//! | no caller waits past the deadline, or for an idle body | for each call and each frame |
//! | a call has one outcome, and asks no provider twice | when it ends; when all have ended |
//! | no more trials are in flight than allowed | for each trial, below the layer |
//! | memory is bounded | by the number of tasks: small each second, and back to the servers' at the end |
//! | transitions are received in order, none twice | for each transition |
//! | all providers are closed again in time | after the chaos |
//!
//! A seed decides which server misbehaves when and how, the number of trials, what the chain does when exhausted, and which
//! callers give up early. It does not decide how threads and packets interleave.
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

/// Few enough that each seed gets the CPU time that its timeouts need.
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

/// Returns the requested seed; otherwise some fixed seeds and a random one.
fn seeds() -> Vec<u64> {
    let asked = |name| Some(env::var(name).ok()?.parse().expect("a number"));
    match asked("CHAOS_SEED") {
        Some(seed) => vec![seed],
        None => (1..asked("CHAOS_SEEDS").unwrap_or(3))
            .chain([fastrand::u64(1_000..1_000_000)])
            .collect(),
    }
}
