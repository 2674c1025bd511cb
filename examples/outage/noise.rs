//! A provider that fails at random for ten minutes, under several loads, and then goes down.

mod chart;
mod designs;
mod table;
mod traffic;

use std::thread;

pub(crate) use self::{chart::draw, table::of as table};
use self::{
    designs::{DESIGNS, Run},
    traffic::Traffic,
};

/// Calls a second, and how many seeds they take: few say much where calls are many.
const RATES: [(u32, u64); 4] = [(1, 20), (10, 10), (100, 4), (1_000, 2)];
const SHARES: [f64; 4] = [0.005, 0.01, 0.05, 0.2];

/// What one load comes to, as the mean of its seeds.
pub(crate) struct Load {
    pub(crate) per_second: u32,
    /// This share of the calls.
    pub(crate) failing: f64,
    /// The errors that callers see without a breaker.
    pub(crate) without: u32,
    pub(crate) with: [Cost; DESIGNS.len()],
}

#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// The errors that callers see, from the provider or from the breaker.
    pub(crate) errors: u32,
    /// How many calls fail until the breaker opens, if the provider goes down after that.
    pub(crate) failures_to_open: Option<u32>,
}

pub(crate) fn run_all() -> Vec<Load> {
    // A thread each: no design takes much longer than another.
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

impl Cost {
    fn mean(costs: &[Self]) -> Self {
        let mean = |of: Vec<u32>| {
            let number = u32::try_from(of.len()).expect("seeds are few");
            (of.into_iter().sum::<u32>() + number / 2) / number
        };
        let failures: Option<_> = costs.iter().map(|cost| cost.failures_to_open).collect();
        Self {
            errors: mean(costs.iter().map(|cost| cost.errors).collect()),
            failures_to_open: failures.map(mean),
        }
    }
}
