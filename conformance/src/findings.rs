//! The results of each crate.

use std::{
    any::Any,
    panic::{self, catch_unwind},
    thread::{self, JoinHandle},
};

use mad_turmoil::time::SimClocksGuard;

use crate::{
    behaviours::{self, Behaviour},
    breaker::{Breaker, Cause},
    clock::Clock,
    rig::{Judgement, Objection},
};

/// The results of one crate.
pub(crate) struct Findings {
    pub(crate) name: &'static str,
    pub(crate) causes: &'static [Cause],
    pub(crate) judgements: Vec<(Behaviour, Judgement)>,
}

/// A breaker to judge: a column of the table.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    judge: fn() -> Findings,
}

impl Column {
    pub(crate) const fn of<B: Breaker>() -> Self {
        Self {
            name: B::NAME,
            judge: Findings::of::<B>,
        }
    }
}

/// Judges each breaker in a thread.
pub(crate) fn of<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Vec<Findings> {
    // The peers use the system clock, which follows tokio's paused runtimes while this guard is held.
    let _guard = SimClocksGuard::init();
    // Some listeners and checks panic on purpose.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let threads = columns.into_iter().map(|it| thread::spawn(it.judge));
    let threads: Vec<_> = threads.collect();
    let join = |thread: JoinHandle<_>| thread.join().expect("no judge panics");
    let findings = threads.into_iter().map(join).collect();
    panic::set_hook(hook);
    findings
}

impl Findings {
    fn of<B: Breaker>() -> Self {
        let judgements = behaviours::of::<B>().into_iter().map(|behaviour| {
            let judgement = catch_unwind(|| judge(&behaviour));
            let judgement = judgement.unwrap_or_else(|panic| Err(panicked(&*panic)));
            (behaviour, judgement)
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

    /// The cause of a failed row, if known.
    pub(crate) fn cause(&self, row: &str) -> Option<&'static str> {
        let mut causes = self.causes.iter();
        let (_, cause) = causes.find(|(rows, _)| rows.contains(&row))?;
        Some(cause)
    }
}

fn panicked(panic: &dyn Any) -> Objection {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    Objection::Fails(format!("it panics: {}", text.unwrap_or_default()))
}

fn judge(behaviour: &Behaviour) -> Judgement {
    let clock = Clock::new();
    let _entered = clock.enter();
    (behaviour.judge)(&clock)
}
