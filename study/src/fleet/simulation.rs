use std::time::Duration;

use tokio::{runtime::Builder, task::JoinSet};
use tower_health::fleet::{MemoryStore, Share};

use super::{
    replica::Replica,
    store::NetworkStore,
    world::{END, OUTAGE, PAUSE, Record, World},
};

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) replicas: usize,
    pub(crate) sharing: Sharing,
    pub(crate) faults: Faults,
    pub(crate) is_instant: bool,
    pub(crate) slow_start: bool,
    /// A probe checks every 30 s whether the provider can be reached.
    pub(crate) has_checks: bool,
    /// The provider is healthy but for random errors, and the first replica's calls and checks all fail.
    pub(crate) is_poisoned: bool,
}

/// The fleet's mode, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sharing(pub(crate) Option<Share>);

#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) loss: f64,
    pub(crate) is_slow: bool,
    pub(crate) is_partitioned: bool,
    pub(crate) is_gone: bool,
}

/// The cost of an outage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Calls that reached the provider during the outage, each of which waits for the timeout.
    pub(crate) paid: usize,
    /// Time from the beginning of the outage until the last call that was no trial.
    pub(crate) all_know_after: Duration,
    pub(crate) trials: usize,
    /// Most trials within one second after the provider is back.
    pub(crate) trials_at_once: usize,
    /// Most calls within one second, from the first trial that is served on, as a multiple of the normal rate.
    pub(crate) rush: f64,
    /// Time from the end of the outage until every replica is served.
    pub(crate) recovered_after: Duration,
    pub(crate) checks_per_minute: f64,
    pub(crate) exchanges_per_second: f64,
    /// Calls that replicas refused, other than the first.
    pub(crate) refused_by_others: usize,
}

impl Sharing {
    pub(crate) const ALL: [Self; 4] = [
        Self(None),
        Self(Some(Share::Advise)),
        Self(Some(Share::Quorum)),
        Self(Some(Share::Trust)),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            None => "no fleet",
            Some(Share::Advise) => "`Advise`",
            Some(Share::Quorum) => "`Quorum`",
            Some(_) => "`Trust`",
        }
    }
}

impl Faults {
    pub(crate) const LOSS: Self = Self {
        loss: 0.1,
        ..Self::NONE
    };
    pub(crate) const DELAY: Self = Self {
        is_slow: true,
        ..Self::NONE
    };
    pub(crate) const PARTITION: Self = Self {
        is_partitioned: true,
        ..Self::NONE
    };
    pub(crate) const GONE: Self = Self {
        is_gone: true,
        ..Self::NONE
    };
    const NONE: Self = Self {
        loss: 0.0,
        is_slow: false,
        is_partitioned: false,
        is_gone: false,
    };
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            replicas: 1,
            sharing: Sharing(Some(Share::Advise)),
            faults: Faults::NONE,
            is_instant: false,
            slow_start: false,
            has_checks: false,
            is_poisoned: false,
        }
    }
}

/// Simulates seven minutes.
pub(crate) fn run(scenario: &Scenario) -> Figures {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        fastrand::seed(7);
        let world = World::new(scenario.is_poisoned);
        let memory = MemoryStore::default();
        let mut replicas = JoinSet::new();
        for replica in 0..scenario.replicas {
            let store = NetworkStore {
                memory: memory.clone(),
                world: world.clone(),
                faults: scenario.faults,
                replica,
            };
            replicas.spawn(Replica::new(replica, scenario, world.clone(), store).run());
        }
        while replicas.join_next().await.is_some() {}
        let record = world.record();
        Figures::of(&record, scenario.replicas)
    })
}

impl Figures {
    fn of(record: &Record, replicas: usize) -> Self {
        let second = Duration::from_secs(1);
        let calls = || record.calls.iter().copied();
        let in_outage = || calls().filter(|(began, _)| OUTAGE.contains(began));
        let last_call = in_outage()
            .filter(|(_, is_trial)| !is_trial)
            .map(|(began, _)| began)
            .max();
        let after = || calls().filter(|(began, _)| *began >= OUTAGE.end);
        let late_trials: Vec<_> = after()
            .filter(|(_, is_trial)| *is_trial)
            .map(|(began, _)| began)
            .collect();
        let late: Vec<_> = after().map(|(began, _)| began).collect();
        let last_refused = record.refused.iter().map(|(at, _)| *at).max();
        let checks = record.checks.iter().filter(|at| OUTAGE.contains(at));
        #[allow(clippy::cast_precision_loss)]
        let (checks, exchanges, normal, most) = (
            checks.count() as f64,
            record.exchanges as f64,
            replicas as f64 / PAUSE.as_secs_f64(),
            most_within(&late, second) as f64,
        );
        Self {
            paid: in_outage().count(),
            all_know_after: last_call.unwrap_or(OUTAGE.start) - OUTAGE.start,
            trials: in_outage().filter(|(_, is_trial)| *is_trial).count(),
            trials_at_once: most_within(&late_trials, second),
            rush: most / normal,
            recovered_after: last_refused
                .unwrap_or(OUTAGE.end)
                .saturating_sub(OUTAGE.end),
            checks_per_minute: checks / ((OUTAGE.end - OUTAGE.start).as_secs_f64() / 60.0),
            exchanges_per_second: exchanges / END.as_secs_f64(),
            refused_by_others: record.refused.iter().filter(|(_, it)| *it > 0).count(),
        }
    }
}

/// Returns the largest number of times, which are sorted, within any span of this length.
fn most_within(times: &[Duration], span: Duration) -> usize {
    let until = |first: usize| times[first..].partition_point(|at| *at < times[first] + span);
    (0..times.len()).map(until).max().unwrap_or(0)
}
