//! Compares circuit breakers: runs the same tests on each.
//!
//! Run with: `cargo run --manifest-path conformance/Cargo.toml`
//!
//! Prints the results that `docs/conformance.md` contains.

mod behaviours;
mod breaker;
mod clock;
mod findings;
mod peers;
mod rig;
mod table;
mod work;

fn main() {
    print!("{}", table::of(&findings::all()));
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::LazyLock};

    use crate::{
        findings::{self, Findings},
        table,
    };

    static FINDINGS: LazyLock<[Findings; 4]> = LazyLock::new(findings::all);

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
            assert_eq!(
                causes.collect::<BTreeSet<_>>(),
                failures,
                "{}",
                findings.name
            );
        }
    }

    #[test]
    fn document_says_what_is_found() {
        let table = table::of(&*FINDINGS);
        let document = include_str!("../../docs/conformance.md");
        assert!(document.ends_with(&table), "the table is now\n{table}");
    }

    #[test]
    fn names_tell_the_versions_that_are_judged() {
        let manifest = include_str!("../Cargo.toml");
        for findings in &FINDINGS[1..] {
            let (name, version) = findings.name.split_once(' ').expect("a name and a version");
            let mut lines = manifest.lines().filter(|line| line.starts_with(name));
            let is_judged = |line: &str| line.contains(&format!("\"={version}\""));
            assert!(
                lines.clone().next().is_some() && lines.all(is_judged),
                "{}",
                findings.name
            );
        }
    }
}
