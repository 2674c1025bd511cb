//! The Markdown tables of `docs/fleet.md`.

use super::{Conditions, Poisoned, Sizes, simulation::Figures};
use crate::table::thousands;

/// Returns the table of the outage, by number of replicas and setting.
pub(crate) fn of_sizes(sizes: &Sizes) -> String {
    let rows = sizes.iter().flat_map(|(replicas, runs)| {
        let name = |sharing: &str| format!("{} | {sharing}", count(f64::from(*replicas)));
        runs.iter()
            .map(move |(sharing, figures)| row(&name(sharing.name()), figures))
    });
    head("replicas | sharing", "--:|---") + &rows.collect::<String>()
}

/// Returns the table of the other conditions.
pub(crate) fn of_conditions(conditions: &Conditions) -> String {
    let rows = conditions.iter().map(|(name, figures)| row(name, figures));
    head("", "---") + &rows.collect::<String>()
}

/// Returns the table of the calls that other replicas refuse because of one replica's network.
pub(crate) fn of_poison(poisoned: &Poisoned) -> String {
    let rows = poisoned.iter().map(|(sharing, refused)| {
        let [without, with] = refused.map(count);
        format!("| {} | {without} | {with} |\n", sharing.name())
    });
    "| sharing | without random errors | with 1 % of random errors |\n|---|--:|--:|\n".to_owned()
        + &rows.collect::<String>()
}

fn head(first: &str, line: &str) -> String {
    format!(
        "| {first} | calls that waited | last one after | trials | trials in a second | calls in a second | last refusal after | checks a minute | exchanges a second |\n\
         |{line}|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
}

fn row(name: &str, figures: &Figures) -> String {
    format!(
        "| {name} | {} | {:.0} s | {} | {} | {:.1} × | {:.0} s | {} | {} |\n",
        count(figures.paid),
        figures.all_know_after,
        count(figures.trials),
        count(figures.trials_at_once),
        figures.rush,
        figures.recovered_after,
        count(figures.checks_per_minute),
        count(figures.exchanges_per_second),
    )
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn count(number: f64) -> String {
    if number < 10.0 {
        let tenths = format!("{number:.1}");
        return tenths.strip_suffix(".0").unwrap_or(&tenths).to_owned();
    }
    thousands(number.round() as usize)
}
