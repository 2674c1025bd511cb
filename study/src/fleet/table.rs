//! The Markdown tables of `docs/fleet.md`.

use std::time::Duration;

use super::{Rows, Sharing, simulation::Figures};
use crate::table::thousands;

/// The outage, by number of replicas and setting.
pub(crate) fn of_sizes(sizes: &[(usize, Vec<(Sharing, Figures)>)]) -> String {
    let rows = sizes.iter().flat_map(|(replicas, runs)| {
        runs.iter().map(move |(sharing, figures)| {
            row(
                &format!("{} | {}", thousands(*replicas), sharing.name()),
                figures,
            )
        })
    });
    head("replicas | sharing", "--:|---") + &rows.collect::<String>()
}

/// The outage in other conditions.
pub(crate) fn of_faults(rows: &Rows) -> String {
    let rows = rows.iter().map(|(name, figures)| row(name, figures));
    head("twenty replicas, `Advise`", "---") + &rows.collect::<String>()
}

fn head(first: &str, line: &str) -> String {
    format!(
        "| {first} | calls that waited | all know after | trials in the outage | trials in the busiest second after | calls in the busiest second after | all served after | checks a minute | exchanges a second |\n\
         |{line}|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
}

fn row(name: &str, figures: &Figures) -> String {
    format!(
        "| {name} | {} | {} | {} | {} | {:.1} × | {} | {:.0} | {:.0} |\n",
        thousands(figures.paid),
        seconds(figures.all_know_after),
        thousands(figures.trials),
        thousands(figures.trials_at_once),
        figures.rush,
        seconds(figures.recovered_after),
        figures.checks_per_minute,
        figures.exchanges_per_second,
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
