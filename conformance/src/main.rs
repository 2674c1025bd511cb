//! Compares circuit breakers: judges each by the same behaviours.
//!
//! Run with: `cargo run --manifest-path conformance/Cargo.toml [NAME]`
//!
//! Prints the section "Findings" of `docs/conformance.md`, or only the columns whose name contains `NAME`. The
//! section "Add a breaker" of that page shows how to add a column.
//!
//! - [`breaker`]: the trait that adapts a crate, and the values that it takes.
//! - [`peers`]: one adapter for each crate, and the list of columns.
//! - [`behaviours`]: one function for each row, and the list of rows.
//! - [`rig`], [`clock`], [`work`]: start and answer calls by hand, in paused time.
//! - [`findings`], [`table`]: run the behaviours, and print their results.

mod behaviours;
mod breaker;
mod clock;
mod findings;
mod peers;
mod rig;
mod table;
mod work;

use std::env;

fn main() {
    let name = env::args().nth(1).unwrap_or_default();
    let columns = peers::COLUMNS.iter();
    let columns = columns.filter(|column| column.name.contains(&name));
    let findings = findings::of(columns);
    assert!(!findings.is_empty(), "no column is called {name}");
    print!("{}", table::of(&findings));
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::LazyLock};

    use crate::{
        findings::{self, Findings},
        peers, table,
    };

    static FINDINGS: LazyLock<Vec<Findings>> = LazyLock::new(|| findings::of(peers::COLUMNS));

    #[test]
    fn tower_health_fails_nowhere() {
        assert_eq!(FINDINGS[0].failures(), []);
    }

    #[test]
    fn causes_are_given_of_failures_and_of_nothing_else() {
        for findings in &*FINDINGS {
            let failures: BTreeSet<_> = findings
                .failures()
                .into_iter()
                .map(|(row, _)| row)
                .collect();
            let causes = findings.causes.iter().flat_map(|(rows, _)| *rows).copied();
            let causes: BTreeSet<_> = causes.collect();
            let lacking: Vec<_> = failures.difference(&causes).collect();
            let needless: Vec<_> = causes.difference(&failures).collect();
            assert!(
                lacking.is_empty() && needless.is_empty(),
                "`CAUSES` of {}: rows that fail and are not listed: {lacking:?}; rows that are listed and do not fail: {needless:?}",
                findings.name
            );
        }
    }

    #[test]
    fn document_says_what_is_found() {
        let table = table::of(&FINDINGS);
        let document = include_str!("../../docs/conformance.md");
        assert!(
            document.ends_with(&format!("\n## Findings\n\n{table}")),
            "replace all below the heading `Findings` of docs/conformance.md with:\n{table}"
        );
    }

    #[test]
    fn names_tell_the_versions_that_are_judged() {
        let manifest = include_str!("../Cargo.toml");
        for findings in &FINDINGS[1..] {
            let (name, version) = findings
                .name
                .split_once(' ')
                .expect("`NAME` is a name and a version");
            let crates: &[_] = match name {
                "tower-resilience" => &[
                    "tower-resilience-circuitbreaker",
                    "tower-resilience-healthcheck",
                ],
                _ => &[name],
            };
            let version = format!("\"={version}\"");
            for name in crates {
                let is_judged = |line: &str| {
                    line.split_once(" = ")
                        .is_some_and(|(key, value)| key == *name && value.contains(&version))
                };
                assert!(
                    manifest.lines().any(is_judged),
                    "conformance/Cargo.toml has no line with {version} for {name}"
                );
            }
        }
    }
}
