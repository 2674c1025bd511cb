//! A provider hangs for three minutes under two hundred calls a second: without a breaker, behind other crates' breakers,
//! and behind this crate's. Then other faults follow, and random failures under several loads.
//!
//! Run with: `cargo run --release -p study`, and with `-- fleet` for replicas that share their health (`docs/fleet.md`).
//!
//! Simulates ten minutes for each in paused time; every run gives the same numbers. Prints the tables of `README.md`,
//! `docs/outage.md` and `docs/noise.md`, and draws the charts.

mod before;
mod chart;
mod designs;
mod figures;
mod fleet;
mod noise;
mod simulation;
mod table;
mod world;

use std::{env, error::Error, path::Path};

use self::{designs::Run, noise::Load};

fn main() -> Result<(), Box<dyn Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    if env::args().nth(1).as_deref() == Some("fleet") {
        let sizes = fleet::run_sizes(&[1, 10, 100, 1_000]);
        print!(
            "{}\n{}\n{}",
            fleet::of_sizes(&sizes),
            fleet::of_conditions(&fleet::run_conditions()),
            fleet::of_poison(&fleet::run_poisoned(10)),
        );
        return fleet::draw(&docs.join("fleet.svg"), &sizes);
    }
    let Measured {
        runs,
        troubles,
        loads,
    } = measure();
    print!(
        "{}\n{}\n{}\n{}",
        table::summary(&runs),
        table::of(&runs),
        table::of_troubles(&troubles),
        noise::table(&loads)
    );
    chart::draw_waits(&docs.join("nobody-waits.svg"), &runs)?;
    chart::draw(&docs.join("outage.svg"), &runs)?;
    noise::draw(&docs.join("noise.svg"), &loads)
}

struct Measured {
    runs: Vec<Run>,
    troubles: Vec<(&'static str, Vec<Run>)>,
    loads: Vec<Load>,
}

fn measure() -> Measured {
    // The peers read the system clock. While this guard lives, that is tokio's paused clock.
    #[cfg(unix)]
    let _guard = mad_turmoil::time::SimClocksGuard::init();
    Measured {
        runs: designs::run_all(),
        troubles: designs::run_troubles(),
        loads: noise::run_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::LazyLock, time::Duration};

    use super::*;
    use crate::{
        designs::{CHAIN, CHECKED_OFTEN, FAILOVER_CHAIN},
        figures::most_for_each_answer,
        table::{figures_of, named},
    };

    static MEASURED: LazyLock<Measured> = LazyLock::new(measure);

    #[test]
    fn documents_have_the_figures_of_a_run() {
        let runs = &MEASURED.runs;
        let (table, summary) = (table::of(runs), table::summary(runs));
        let troubles = table::of_troubles(&MEASURED.troubles);
        let study = include_str!("../../docs/outage.md");
        let readme = include_str!("../../README.md");
        assert!(study.contains(&table), "the table is now\n{table}");
        assert!(study.contains(&troubles), "the tables are now\n{troubles}");
        assert!(readme.contains(&summary), "the table is now\n{summary}");
    }

    #[test]
    fn nobody_notices_the_outage_with_failover_and_a_second_provider() {
        let before = figures_of(&MEASURED.runs, CHAIN);
        assert_eq!(before.paid_the_timeout, 2_003);
        let figures = figures_of(&MEASURED.runs, FAILOVER_CHAIN);
        assert_eq!((figures.paid_the_timeout, figures.errors), (0, 0));
        let millis = Duration::from_millis;
        assert!(
            figures.longest_wait <= millis(4_600),
            "{:?}",
            figures.longest_wait
        );
        assert!(figures.detected_after <= Some(millis(3_100)));
        let visits = &named(&MEASURED.runs, FAILOVER_CHAIN).record.visits;
        let most = most_for_each_answer(visits);
        assert!((1.0..=2.0).contains(&most), "{most}");
    }

    #[test]
    fn fleet_of_a_hundred_sends_one_trial_and_one_check_a_round() {
        // The waits for the lease are random: in a few runs of a hundred nobody has a call in time, and trials come without it.
        let runs: Vec<_> = (0..5)
            .flat_map(|_| fleet::run_sizes(&[100]))
            .map(|(_, settings)| settings)
            .collect();
        let median = |setting: usize, figure: fn(&fleet::Figures) -> f64| {
            let mut figures: Vec<f64> = runs.iter().map(|run| figure(&run[setting].1)).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let paid_alone = median(0, |it| it.paid);
        assert!(median(0, |it| it.trials) >= 50.0 && median(0, |it| it.checks_per_minute) >= 150.0);
        for (setting, (sharing, _)) in runs[0].iter().enumerate().skip(1) {
            let name = sharing.name();
            // Two windows end in the outage, and a trial may be followed by one without the lease.
            assert!(median(setting, |it| it.trials) <= 6.0, "{name}");
            assert!(median(setting, |it| it.trials_at_once) <= 2.0, "{name}");
            assert!(median(setting, |it| it.checks_per_minute) <= 8.0, "{name}");
            assert!(median(setting, |it| it.paid) < 0.75 * paid_alone, "{name}");
        }
    }

    #[test]
    fn broken_replica_takes_the_provider_from_no_other() {
        let poisoned = fleet::run_poisoned(1);
        let [others @ .., (_, [by_trust, _])] = &poisoned[..] else {
            unreachable!("four settings")
        };
        for (sharing, [refused, _]) in others {
            assert!(*refused < 1.0, "{}: {refused}", sharing.name());
        }
        assert!(*by_trust > 1_000.0, "{by_trust}");
    }

    #[test]
    fn provider_is_back_soon_with_a_functional_check_every_five_seconds() {
        let figures = figures_of(&MEASURED.runs, CHECKED_OFTEN);
        assert!(figures.recovered_after <= Duration::from_secs(7));
    }

    #[test]
    fn readme_has_the_errors_of_five_percent_at_a_hundred_calls_a_second() {
        let mut loads = MEASURED.loads.iter();
        let load = loads
            .find(|load| (load.per_second, load.failing) == (100, 0.05))
            .expect("this load");
        let [.., health, _] = load.with;
        let errors = table::thousands(load.without as usize);
        assert_eq!(health.errors, load.without);
        assert_eq!(health.failures_to_open, Some(13));
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&format!("{errors} errors")), "{errors}");
        assert!(readme.contains("at the 13th failure"));
    }

    #[test]
    fn document_says_what_random_errors_cost() {
        let table = noise::table(&MEASURED.loads);
        let document = include_str!("../../docs/noise.md");
        assert!(document.contains(&table), "the table is now\n{table}");
    }

    #[test]
    fn random_errors_cost_few_more_than_without_a_breaker() {
        for load in &MEASURED.loads {
            let most = if load.failing < 0.1 { 2 } else { 3 };
            let [.., health, _] = load.with;
            assert!(
                health.errors <= most * load.without + 120,
                "{} calls/s",
                load.per_second
            );
        }
    }

    #[test]
    fn outage_after_random_errors_opens_at_the_sixteenth_failure_at_the_latest() {
        for load in &MEASURED.loads {
            let [.., health, _] = load.with;
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
