//! Prints the run.

use std::{
    io::{IsTerminal, stdout},
    ops::Range,
    time::Duration,
};

use tokio::time::{Instant, interval_at};
use tower_health::{HealthCache, State, Transitions};

use crate::{
    TIMEOUT,
    load::{Call, Calls},
};

#[derive(Clone)]
pub(crate) struct Report {
    start: Instant,
    cache: HealthCache,
    is_colourful: bool,
}

impl Report {
    pub(crate) fn new(start: Instant, cache: &HealthCache) -> Self {
        Self {
            start,
            cache: cache.clone(),
            is_colourful: stdout().is_terminal(),
        }
    }

    pub(crate) fn heading(&self, text: &str) {
        println!(
            "\n{:>5}  {}",
            self.clock(Instant::now()),
            self.paint("1", text)
        );
    }

    pub(crate) async fn print_transitions(self, mut transitions: Transitions) {
        while let Some(transition) = transitions.recv().await {
            let clock = self.clock(transition.at);
            let arrow = self.paint(colour(transition.to), &format!("> {transition}"));
            println!("{clock:>5}    {arrow}");
        }
    }

    /// Prints a line each second: calls served by each provider, its state, and the slowest call.
    pub(crate) async fn print_every_second(self, calls: Calls) {
        const SECOND: Duration = Duration::from_secs(1);
        let mut ticks = interval_at(self.start + SECOND, SECOND);
        let mut printed = 0;
        loop {
            ticks.tick().await;
            let ended = calls.lock().unwrap()[printed..].to_vec();
            printed += ended.len();
            self.print_second(&ended);
        }
    }

    fn print_second(&self, calls: &[Call]) {
        let providers = self.cache.snapshot().providers;
        let served = providers.iter().map(|provider| {
            let count = calls
                .iter()
                .filter(|call| call.was_served_by(&provider.id))
                .count();
            let text = format!("{} {count:>2} {:<9}", provider.id, provider.state);
            self.paint(colour(provider.state), &text)
        });
        let served = served.collect::<Vec<_>>().join("  ");
        let errors = calls.iter().filter(|call| call.served_by.is_err()).count();
        let slowest = calls.iter().map(|call| call.took).max().unwrap_or_default();
        let clock = self.clock(Instant::now());
        println!(
            "{clock:>5}    {served}  errors {errors}  slowest {:>4} ms",
            slowest.as_millis()
        );
    }

    fn clock(&self, at: Instant) -> String {
        format!("{:.1}s", (at - self.start).as_secs_f64())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.is_colourful {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Prints a table with a column for each load. `first` was down during `outage`.
pub(crate) fn summary(columns: &[(&str, Vec<Call>)], outage: Range<Instant>) {
    let print = |what: &str, cells: Vec<String>| {
        let cells = cells.iter().map(|cell| format!("{cell:>16}"));
        println!("{what:<34}{}", cells.collect::<String>());
    };
    let row = |what, figure: &dyn Fn(&[Call]) -> String| {
        print(
            what,
            columns.iter().map(|(_, calls)| figure(calls)).collect(),
        );
    };
    let count = |calls: &[Call], is_counted: &dyn Fn(&Call) -> bool| {
        calls
            .iter()
            .filter(|call| is_counted(call))
            .count()
            .to_string()
    };
    println!();
    print(
        "",
        columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
    );
    row("calls", &|calls| count(calls, &|_| true));
    row("errors seen by callers", &|calls| {
        count(calls, &|call| call.served_by.is_err())
    });
    row("calls that hit a timeout", &|calls| {
        count(calls, &|call| call.took >= TIMEOUT)
    });
    row("median latency", &|calls| millis(percentile(calls, 50)));
    row("99th percentile", &|calls| millis(percentile(calls, 99)));
    row("longest wait", &|calls| millis(percentile(calls, 100)));
    row("first's outage detected after", &|calls| {
        let mut spared = calls.iter().filter(|call| {
            outage.contains(&call.started)
                && call.took < TIMEOUT / 3
                && !call.was_served_by("first")
        });
        let detected = spared.next().map(|call| call.started - outage.start);
        detected.map_or("never".into(), millis)
    });
    row("first serves again after", &|calls| {
        let back = back(calls, &outage).map(|call| call.started + call.took - outage.end);
        back.min().map_or("never".into(), millis)
    });
    row("served in its first second back", &|calls| {
        let first = back(calls, &outage).map(|call| call.started).min();
        let is_soon =
            |call: &&Call| first.is_some_and(|first| call.started < first + Duration::from_secs(1));
        back(calls, &outage).filter(is_soon).count().to_string()
    });
    println!(
        "\nNext: `cargo run --example client` puts a breaker around one client;\n      \
         the quick start of README.md builds a chain like this one."
    );
}

/// The calls that `first` served after its outage.
fn back<'a>(calls: &'a [Call], outage: &Range<Instant>) -> impl Iterator<Item = &'a Call> {
    let end = outage.end;
    calls
        .iter()
        .filter(move |call| call.started >= end && call.was_served_by("first"))
}

impl Call {
    fn was_served_by(&self, provider: &str) -> bool {
        self.served_by.as_deref() == Ok(provider)
    }
}

fn colour(state: State) -> &'static str {
    match state {
        State::Closed => "32",
        State::Open => "31",
        State::HalfOpen => "33",
    }
}

fn percentile(calls: &[Call], percent: usize) -> Duration {
    let mut took: Vec<_> = calls.iter().map(|call| call.took).collect();
    took.sort_unstable();
    let rank = (took.len() * percent).div_ceil(100);
    took.get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
