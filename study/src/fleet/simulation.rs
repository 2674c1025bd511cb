use std::time::Duration;

use tokio::{runtime::Builder, task::JoinSet};
use tower_health::fleet::{MemoryStore, Share};

use super::{
    replica::Replica,
    store::NetworkStore,
    world::{END, OUTAGE, PAUSE, Poison, Record, World},
};

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) replicas: u32,
    pub(crate) sharing: Sharing,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    pub(crate) is_instant: bool,
    pub(crate) slow_start: bool,
    /// A probe checks every 30 s whether the provider can be reached.
    pub(crate) has_checks: bool,
    pub(crate) poison: Option<Poison>,
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
    /// Calls that began during the outage. Each waits for the timeout.
    pub(crate) paid: f64,
    /// Seconds from the start of the outage to the last of these calls, trials excluded.
    pub(crate) all_know_after: f64,
    pub(crate) trials: f64,
    /// Largest number of trials within one second, after the end of the outage.
    pub(crate) trials_at_once: f64,
    /// Largest number of calls within one second, after the end of the outage, as a multiple of the normal rate.
    pub(crate) rush: f64,
    /// Seconds from the end of the outage to the last refused call.
    pub(crate) recovered_after: f64,
    pub(crate) checks_per_minute: f64,
    pub(crate) exchanges_per_second: f64,
    /// Calls that all replicas but the first refused.
    pub(crate) refused_by_others: f64,
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
            seed: 1,
            is_instant: false,
            slow_start: false,
            has_checks: false,
            poison: None,
        }
    }
}

/// Simulates seven minutes, and returns the figures.
pub(crate) fn run(scenario: &Scenario) -> Figures {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        fastrand::seed(scenario.seed);
        let world = World::new(scenario.poison);
        let memory = MemoryStore::default();
        let mut replicas = JoinSet::new();
        for replica in 0..scenario.replicas as usize {
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
    #[allow(clippy::cast_precision_loss)]
    fn of(record: &Record, replicas: u32) -> Self {
        let second = Duration::from_secs(1);
        let calls = || record.calls.iter().copied();
        let in_outage = || calls().filter(|(began, _)| OUTAGE.contains(began));
        let times = |calls: &mut dyn Iterator<Item = (Duration, bool)>| -> Vec<_> {
            calls.map(|(began, _)| began).collect()
        };
        let others = times(&mut in_outage().filter(|(_, is_trial)| !is_trial));
        let after = times(&mut calls().filter(|(began, _)| *began >= OUTAGE.end));
        let trials_after =
            times(&mut calls().filter(|(began, is_trial)| *began >= OUTAGE.end && *is_trial));
        let last_refused = record.refused.iter().map(|(at, _)| *at).max();
        let since = |start: Duration, at: Option<&Duration>| {
            at.map_or(0.0, |at| at.saturating_sub(start).as_secs_f64())
        };
        let checks = record.checks.iter().filter(|at| OUTAGE.contains(at));
        let minutes = OUTAGE.end.saturating_sub(OUTAGE.start).as_secs_f64() / 60.0;
        let normal = f64::from(replicas) * second.div_duration_f64(PAUSE);
        Self {
            paid: in_outage().count() as f64,
            all_know_after: since(OUTAGE.start, others.last()),
            trials: in_outage().filter(|(_, is_trial)| *is_trial).count() as f64,
            trials_at_once: most_within(&trials_after, second) as f64,
            rush: most_within(&after, second) as f64 / normal,
            recovered_after: since(OUTAGE.end, last_refused.as_ref()),
            checks_per_minute: checks.count() as f64 / minutes,
            exchanges_per_second: record.exchanges as f64 / END.as_secs_f64(),
            refused_by_others: record.refused.iter().filter(|(_, it)| *it > 0).count() as f64,
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn mean(runs: &[Self]) -> Self {
        let mean =
            |figure: fn(&Self) -> f64| runs.iter().map(figure).sum::<f64>() / runs.len() as f64;
        Self {
            paid: mean(|it| it.paid),
            all_know_after: mean(|it| it.all_know_after),
            trials: mean(|it| it.trials),
            trials_at_once: mean(|it| it.trials_at_once),
            rush: mean(|it| it.rush),
            recovered_after: mean(|it| it.recovered_after),
            checks_per_minute: mean(|it| it.checks_per_minute),
            exchanges_per_second: mean(|it| it.exchanges_per_second),
            refused_by_others: mean(|it| it.refused_by_others),
        }
    }
}

/// Returns the largest number of `times` within any span of this length. `times` is sorted.
fn most_within(times: &[Duration], span: Duration) -> usize {
    let until = |first: usize| times[first..].partition_point(|at| *at < times[first] + span);
    (0..times.len()).map(until).max().unwrap_or(0)
}
