//! The figures as a table of Markdown.

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

/// As in `36,000`.
pub(crate) fn thousands(number: usize) -> String {
    match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}
