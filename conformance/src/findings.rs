//! The results of each crate.

use std::{
    panic::{self, catch_unwind},
    thread,
};

use mad_turmoil::time::SimClocksGuard;

use crate::{
    behaviours::{self, Behaviour},
    breaker::{Breaker, Cause},
    clock::Clock,
    peers::{Failsafe, Recloser, TowerHealth, TowerResilience},
    rig::{Judgement, Objection},
};

/// The results of one crate.
pub(crate) struct Findings {
    pub(crate) name: &'static str,
    pub(crate) causes: &'static [Cause],
    pub(crate) judgements: Vec<(Behaviour, Judgement)>,
}

pub(crate) fn all() -> [Findings; 4] {
    // The peers use the system clock, which follows tokio's paused runtimes while this guard is held.
    let _guard = SimClocksGuard::init();
    // Some listeners and checks panic on purpose.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let crates = [
        thread::spawn(Findings::of::<TowerHealth>),
        thread::spawn(Findings::of::<Failsafe>),
        thread::spawn(Findings::of::<Recloser>),
        thread::spawn(Findings::of::<TowerResilience>),
    ];
    let findings = crates.map(|judged| judged.join().expect("no judge panics"));
    panic::set_hook(hook);
    findings
}

impl Findings {
    fn of<B: Breaker>() -> Self {
        let judgements = behaviours::of::<B>().into_iter().map(|behaviour| {
            let judgement = catch_unwind(|| judge(&behaviour));
            let panicked = |_| Err(Objection::Fails("it panics".to_owned()));
            (behaviour, judgement.unwrap_or_else(panicked))
        });
        Self {
            name: B::NAME,
            causes: B::CAUSES,
            judgements: judgements.collect(),
        }
    }

    /// The rows that fail, each with the observed behaviour.
    pub(crate) fn failures(&self) -> Vec<(&'static str, &str)> {
        let rows = self.judgements.iter();
        rows.filter_map(|(behaviour, judgement)| match judgement {
            Err(Objection::Fails(seen)) => Some((behaviour.row, seen.as_str())),
            _ => None,
        })
        .collect()
    }

    /// The rows that do not apply, each with the missing feature.
    pub(crate) fn not_applicable(&self) -> Vec<(&'static str, &'static str)> {
        let rows = self.judgements.iter();
        rows.filter_map(|(behaviour, judgement)| match judgement {
            Err(Objection::NotApplicable(lacks)) => Some((behaviour.row, *lacks)),
            _ => None,
        })
        .collect()
    }

    /// The cause of a failed row; empty if unknown.
    pub(crate) fn cause(&self, row: &str) -> &'static str {
        let known = self.causes.iter().find(|(rows, _)| rows.contains(&row));
        known.map_or("", |(_, cause)| cause)
    }
}

fn judge(behaviour: &Behaviour) -> Judgement {
    let clock = Clock::new();
    let _entered = clock.enter();
    (behaviour.judge)(&clock)
}
