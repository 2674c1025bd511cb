//! The loads of a provider that fails at random, and their costs.

use std::thread;

use super::{
    cost::Cost,
    designs::{DESIGNS, Run},
    traffic::Traffic,
};

/// Calls a second, and the number of seeds: a high rate needs few.
pub(super) const RATES: [(u32, u64); 4] = [(1, 20), (10, 10), (100, 4), (1_000, 2)];
pub(super) const SHARES: [f64; 4] = [0.005, 0.01, 0.05, 0.2];

/// The cost of one load, as the mean of its seeds.
pub(crate) struct Load {
    pub(crate) per_second: u32,
    /// The share of calls that fail.
    pub(crate) failing: f64,
    /// The errors that callers see without a breaker.
    pub(crate) without: u32,
    pub(crate) with: [Cost; DESIGNS.len()],
}

pub(crate) fn run_all() -> Vec<Load> {
    // One thread each: no design takes much longer than another.
    let with = thread::scope(|scope| {
        let runs = DESIGNS.map(|(_, run)| scope.spawn(move || costs(run)));
        runs.map(|run| run.join().expect("no design panics"))
    });
    let loads = loads().zip(costs(Traffic::unguarded));
    let loads = loads
        .enumerate()
        .map(|(index, ((per_second, failing, _), without))| Load {
            per_second,
            failing,
            without: without.errors,
            with: with.each_ref().map(|costs| costs[index]),
        });
    loads.collect()
}

fn costs(run: Run) -> Vec<Cost> {
    let costs = loads().map(|(per_second, failing, seeds)| {
        let traffic = (0..seeds).map(|seed| Traffic::new(seed, per_second, failing));
        Cost::mean(&traffic.map(run).collect::<Vec<_>>())
    });
    costs.collect()
}

fn loads() -> impl Iterator<Item = (u32, f64, u64)> {
    RATES
        .into_iter()
        .flat_map(|(per_second, seeds)| SHARES.map(|failing| (per_second, failing, seeds)))
}
