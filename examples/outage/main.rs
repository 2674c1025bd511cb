//! A provider hangs for three minutes under two hundred calls a second: without a breaker, behind other crates' breakers, and behind
//! this crate's.
//!
//! Run with: `cargo run --release --example outage`
//!
//! Simulates ten minutes for each in paused time; every run gives the same numbers. Prints the tables of `README.md` and
//! `docs/outage.md`, and draws the chart.

mod before;
mod chart;
mod designs;
mod figures;
mod simulation;
mod table;
mod world;

use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let runs = designs::run_all();
    print!("{}\n{}", table::summary(&runs), table::of(&runs));
    chart::draw(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/outage.svg"),
        &runs,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_figures_of_a_run() {
        let runs = designs::run_all();
        let (table, summary) = (table::of(&runs), table::summary(&runs));
        let study = include_str!("../../docs/outage.md");
        let readme = include_str!("../../README.md");
        assert!(study.contains(&table), "the table is now\n{table}");
        assert!(readme.contains(&summary), "the table is now\n{summary}");
    }
}
