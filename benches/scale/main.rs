//! How the cost of one item grows with the number of items: `cargo bench -p benches --bench scale`.
//!
//! Each figure is for one item, and the median of several runs: a linear total stays level from left to right.

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
