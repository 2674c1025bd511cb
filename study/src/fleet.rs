//! Replicas of one service during an outage of their provider, with and without a fleet.

mod chart;
mod replica;
mod simulation;
mod store;
mod table;
mod world;

pub(crate) use self::{
    chart::draw,
    simulation::{Figures, Sharing},
    table::{of_conditions, of_poison, of_sizes},
};
use self::{
    simulation::{Faults, Scenario, run},
    world::Poison,
};

/// The figures of the outage for each number of replicas and each setting.
pub(crate) type Sizes = Vec<(u32, Vec<(Sharing, Figures)>)>;

/// The figures of twenty replicas for each of the other conditions.
pub(crate) type Conditions = Vec<(&'static str, Figures)>;

/// The number of calls that the replicas with a good network refused, for each setting, without and with random errors.
pub(crate) type Poisoned = Vec<(Sharing, [f64; 2])>;

pub(crate) fn run_sizes(sizes: &[u32]) -> Sizes {
    let with = |replicas, has_checks| {
        Sharing::ALL.map(|sharing| {
            let scenario = Scenario {
                replicas,
                sharing,
                has_checks,
                ..Scenario::default()
            };
            (sharing, run(&scenario))
        })
    };
    let runs = |replicas| {
        let mut runs = with(replicas, false);
        for ((_, run), (_, checked)) in runs.iter_mut().zip(with(replicas, true)) {
            run.checks_per_minute = checked.checks_per_minute;
        }
        (replicas, runs.into())
    };
    sizes.iter().copied().map(runs).collect()
}

pub(crate) fn run_conditions() -> Conditions {
    let twenty = Scenario {
        replicas: 20,
        ..Scenario::default()
    };
    let faults = |faults| Scenario { faults, ..twenty };
    let conditions = [
        ("as above", twenty),
        (
            "an exchange every 50 ms",
            Scenario {
                is_instant: true,
                ..twenty
            },
        ),
        (
            "`slow_start`",
            Scenario {
                slow_start: true,
                ..twenty
            },
        ),
        (
            "a check every 30 s",
            Scenario {
                has_checks: true,
                ..twenty
            },
        ),
        ("every tenth exchange fails", faults(Faults::LOSS)),
        ("an exchange takes 300 ms", faults(Faults::DELAY)),
        ("every second replica is cut off", faults(Faults::PARTITION)),
        ("the store is gone", faults(Faults::GONE)),
    ];
    let mean = |scenario: Scenario| Figures::mean(&runs_of(scenario));
    conditions
        .map(|(name, scenario)| (name, mean(scenario)))
        .into()
}

pub(crate) fn run_poisoned(runs: u32) -> Poisoned {
    let refused = |sharing, random_errors| {
        let scenario = |seed| Scenario {
            replicas: 20,
            sharing,
            seed,
            poison: Some(Poison { random_errors }),
            has_checks: true,
            ..Scenario::default()
        };
        let refused = (0..runs).map(|seed| run(&scenario(seed.into())).refused_by_others);
        refused.sum::<f64>() / f64::from(runs)
    };
    Sharing::ALL
        .map(|sharing| (sharing, [0.0, 0.01].map(|errors| refused(sharing, errors))))
        .into()
}

/// Runs a scenario with ten seeds.
fn runs_of(scenario: Scenario) -> Vec<Figures> {
    let seeds = 1..=10;
    seeds
        .map(|seed| run(&Scenario { seed, ..scenario }))
        .collect()
}
