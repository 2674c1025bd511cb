//! The Markdown table of `docs/noise.md`.

use super::{designs::DESIGNS, loads::Load, traffic::MOST_FAILURES};
use crate::table::thousands;

/// The errors by load and design, then the number of failures that open each.
pub(crate) fn of(loads: &[Load]) -> String {
    let names = DESIGNS.map(|(name, _)| name).join(" | ");
    let numbers = "--:|".repeat(DESIGNS.len());
    let head = format!(
        "| calls/s | failing | no breaker | {names} | … and then opens at: {names} |\n|--:|--:|--:|{numbers}{numbers}\n",
    );
    head + &loads.iter().map(row).collect::<String>()
}

fn row(load: &Load) -> String {
    let errors = load.with.map(|cost| count(cost.errors));
    let failures = load.with.map(|cost| {
        let failures = cost.failures_to_open;
        failures.map_or_else(|| format!("> {}", count(MOST_FAILURES)), count)
    });
    format!(
        "| {} | {} % | {} | {} | {} |\n",
        count(load.per_second),
        100.0 * load.failing,
        count(load.without),
        errors.join(" | "),
        failures.join(" | "),
    )
}

fn count(number: u32) -> String {
    thousands(number as usize)
}
