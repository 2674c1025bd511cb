//! Replicas of one service in an outage of their provider, with and without a fleet.

mod replica;
mod simulation;
mod store;
mod table;
mod world;

pub(crate) use self::{
    simulation::{Faults, Figures, Scenario, Sharing, run},
    table::{of_faults, of_sizes},
};

/// Numbers of replicas.
pub(crate) const SIZES: [usize; 4] = [1, 10, 100, 1_000];

/// The runs of one table: each row's name and figures.
pub(crate) type Rows = Vec<(String, Figures)>;

/// An outage with each number of replicas and each setting.
pub(crate) fn run_sizes() -> Vec<(usize, Vec<(Sharing, Figures)>)> {
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
    SIZES
        .into_iter()
        .map(|replicas| {
            let mut runs = with(replicas, false);
            for (run, (_, checked)) in runs.iter_mut().zip(with(replicas, true)) {
                run.1.checks_per_minute = checked.checks_per_minute;
            }
            (replicas, runs.into())
        })
        .collect()
}

/// Twenty replicas in other conditions.
pub(crate) fn run_faults() -> Rows {
    let twenty = Scenario {
        replicas: 20,
        ..Scenario::default()
    };
    let faults = |faults| Scenario { faults, ..twenty };
    [
        ("none", twenty),
        (
            "exchange every 50 ms, as pub/sub would",
            Scenario {
                is_instant: true,
                ..twenty
            },
        ),
        (
            "checks every 30 s",
            Scenario {
                has_checks: true,
                ..twenty
            },
        ),
        (
            "slow start",
            Scenario {
                slow_start: true,
                ..twenty
            },
        ),
        ("every tenth exchange is lost", faults(Faults::LOSS)),
        ("exchanges take 300 ms", faults(Faults::DELAY)),
        (
            "half of the replicas cut off for 60 s",
            faults(Faults::PARTITION),
        ),
        ("the store gone for 60 s", faults(Faults::GONE)),
    ]
    .map(|(name, scenario)| (name.to_owned(), run(&scenario)))
    .into()
}

/// Twenty replicas whose provider is healthy, with random errors, and one replica with a broken network.
pub(crate) fn run_poisoned() -> Vec<(Sharing, Figures)> {
    Sharing::ALL
        .map(|sharing| {
            let scenario = Scenario {
                replicas: 20,
                sharing,
                is_poisoned: true,
                has_checks: true,
                ..Scenario::default()
            };
            (sharing, run(&scenario))
        })
        .into()
}
