//! The figures as Markdown tables.

use std::time::Duration;

use crate::{designs::Run, figures::Figures};

const HEAD: &str = "\
| | paid the timeout | detected after | recovered after | in its first second back | errors |
|---|--:|--:|--:|--:|--:|
";

pub(crate) fn of(runs: &[Run]) -> String {
    let rows = runs.iter().map(row);
    HEAD.to_owned() + &rows.collect::<String>()
}

/// The rows of `README.md`.
pub(crate) fn summary(runs: &[Run]) -> String {
    let rows = [
        ("no breaker", "no breaker"),
        ("tower-health", "`HealthLayer`"),
        (
            "… with a second provider",
            "`FallbackChain` with a second provider",
        ),
    ];
    let rows = rows.map(|(design, called)| {
        let run = runs.iter().find(|run| run.design == design);
        let figures = Figures::of(&run.expect("a design of that name").calls);
        format!(
            "| {called} | {} |\n",
            thousands(figures.waited_for_an_error)
        )
    });
    rows.concat()
}

fn row(run: &Run) -> String {
    let figures = Figures::of(&run.calls);
    format!(
        "| {} | {} | {} | {} | {} | {} |\n",
        run.design,
        thousands(figures.paid_the_timeout),
        figures.detected_after.map_or("never".into(), seconds),
        seconds(figures.recovered_after),
        figures.in_its_first_second,
        thousands(figures.errors),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Separates thousands: `36,000`.
pub(crate) fn thousands(number: usize) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}
