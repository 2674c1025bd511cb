//! How the cost of one thing grows with the number of all: `cargo bench -p benches --bench scale`.
//!
//! Each figure is that of one item, and the median of some runs: what is linear as a whole stays level
//! from left to right.

mod calls;
mod clients;
mod ids;
mod providers;
mod refusals;
mod subscribers;
mod table;

use std::sync::LazyLock;

use self::ids::IDS;

fn main() {
    LazyLock::force(&IDS);
    providers::print();
    calls::print();
    subscribers::print();
    refusals::print();
}
