//! A provider hangs for three minutes under two hundred calls a second: without a breaker, behind other crates' breakers, and behind
//! this crate's. Then one fails at random under several loads.
//!
//! Run with: `cargo run --release -p study`
//!
//! Simulates ten minutes for each in paused time; every run gives the same numbers. Prints the tables of `README.md`,
//! `docs/outage.md` and `docs/noise.md`, and draws the charts.

mod before;
mod chart;
mod designs;
mod figures;
mod noise;
mod simulation;
mod table;
mod world;

use std::{error::Error, path::Path};

use self::{designs::Run, noise::Load};

fn main() -> Result<(), Box<dyn Error>> {
    let (runs, loads) = measure();
    print!(
        "{}\n{}\n{}",
        table::summary(&runs),
        table::of(&runs),
        noise::table(&loads)
    );
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    chart::draw(&docs.join("outage.svg"), &runs)?;
    noise::draw(&docs.join("noise.svg"), &loads)
}

fn measure() -> (Vec<Run>, Vec<Load>) {
    // The peers read the system clock. While this guard lives, that is tokio's paused clock.
    #[cfg(unix)]
    let _guard = mad_turmoil::time::SimClocksGuard::init();
    (designs::run_all(), noise::run_all())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static MEASURED: LazyLock<(Vec<Run>, Vec<Load>)> = LazyLock::new(measure);

    #[test]
    fn documents_have_the_figures_of_a_run() {
        let runs = &MEASURED.0;
        let (table, summary) = (table::of(runs), table::summary(runs));
        let study = include_str!("../../docs/outage.md");
        let readme = include_str!("../../README.md");
        assert!(study.contains(&table), "the table is now\n{table}");
        assert!(readme.contains(&summary), "the table is now\n{summary}");
    }

    #[test]
    fn readme_has_the_errors_of_five_percent_at_a_hundred_calls_a_second() {
        let mut loads = MEASURED.1.iter();
        let load = loads
            .find(|load| (load.per_second, load.failing) == (100, 0.05))
            .expect("this load");
        let [.., health] = load.with;
        let errors = table::thousands(load.without as usize);
        assert_eq!(health.errors, load.without);
        assert_eq!(health.failures_to_open, Some(13));
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&format!("{errors} errors")), "{errors}");
        assert!(readme.contains("at the 13th failure"));
    }

    #[test]
    fn document_says_what_random_errors_cost() {
        let table = noise::table(&MEASURED.1);
        let document = include_str!("../../docs/noise.md");
        assert!(document.contains(&table), "the table is now\n{table}");
    }

    #[test]
    fn random_errors_cost_few_more_than_without_a_breaker() {
        for load in &MEASURED.1 {
            let most = if load.failing < 0.1 { 2 } else { 3 };
            let [.., health] = load.with;
            assert!(
                health.errors <= most * load.without + 120,
                "{} calls/s",
                load.per_second
            );
        }
    }

    #[test]
    fn outage_after_random_errors_opens_at_the_sixteenth_failure_at_the_latest() {
        for load in &MEASURED.1 {
            let [.., health] = load.with;
            assert!(
                health
                    .failures_to_open
                    .is_some_and(|failures| failures <= 16),
                "{} calls/s",
                load.per_second
            );
        }
    }
}
