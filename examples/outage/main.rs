//! A provider that hangs for three minutes, under two hundred calls a second: bare, behind other breakers, and behind this one.
//!
//! Run with: `cargo run --release --example outage`
//!
//! Ten minutes pass for each in paused time, the same in every run. Prints the table of `README.md`, and draws its chart.

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
    print!("{}", table::of(&runs));
    chart::draw(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/outage.svg"),
        &runs,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_says_what_is_measured() {
        let table = table::of(&designs::run_all());
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table), "the table is now\n{table}");
    }
}
