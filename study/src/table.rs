//! The figures as Markdown tables.

use std::time::Duration;

use crate::{
    designs::{BARE, DEFAULT, FAILOVER_CHAIN, Run},
    figures::Figures,
};

const HEAD: &str = "\
| | paid the timeout | longest wait | detected after | recovered after | in its first second back | errors |
|---|--:|--:|--:|--:|--:|--:|
";

pub(crate) fn of(runs: &[Run]) -> String {
    let rows = runs.iter().map(row);
    HEAD.to_owned() + &rows.collect::<String>()
}

/// The tables of the other troubles, each under its name.
pub(crate) fn of_troubles(troubles: &[(&str, Vec<Run>)]) -> String {
    let tables = troubles
        .iter()
        .map(|(trouble, runs)| format!("The provider {trouble}:\n\n{}", of(runs)));
    tables.collect::<Vec<_>>().join("\n")
}

/// The rows of `README.md`.
pub(crate) fn summary(runs: &[Run]) -> String {
    let rows = [
        (BARE, "no breaker"),
        (DEFAULT, "`HealthLayer`"),
        (
            FAILOVER_CHAIN,
            "`FallbackChain` of two, with `Policy::failover_after(3 s)`",
        ),
    ];
    let rows = rows.map(|(design, called)| {
        let figures = figures_of(runs, design);
        format!(
            "| {called} | {} | {} | {} |\n",
            thousands(figures.paid_the_timeout),
            seconds(figures.longest_wait),
            thousands(figures.errors),
        )
    });
    rows.concat()
}

pub(crate) fn figures_of(runs: &[Run], design: &str) -> Figures {
    Figures::of(&named(runs, design).record)
}

pub(crate) fn named<'a>(runs: &'a [Run], design: &str) -> &'a Run {
    let run = runs.iter().find(|run| run.design == design);
    run.expect("a design of that name")
}

fn row(run: &Run) -> String {
    let figures = Figures::of(&run.record);
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        run.design,
        thousands(figures.paid_the_timeout),
        seconds(figures.longest_wait),
        figures.detected_after.map_or("never".into(), seconds),
        seconds(figures.recovered_after),
        figures.in_its_first_second,
        thousands(figures.errors),
    )
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Separates thousands: `36,000`.
pub(crate) fn thousands(number: usize) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}
