//! Tests of a crate's health probe.

use std::{
    collections::HashSet,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{HOUR, MINUTE, SECOND, YEAR};
use crate::{
    breaker::{Breaker, Check, Lacks, Probing, Rules, Trip},
    clock::Clock,
    rig::{Judgement, Rig, all_of, ensure},
};

pub(super) fn panicking_check<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, provider) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let _probe = rig.breaker.probe(Probing::new(provider.check()))?;
    clock.pass(MINUTE);
    provider.becomes(Health::Panics);
    let refuses = (0..300).any(|_| {
        clock.pass(SECOND);
        !rig.admits()
    });
    ensure(refuses, "no call was refused in 5 min of failing checks")
}

/// A check is in flight when the probe stops, and then fails.
pub(super) fn stopped_probe<B: Breaker>(clock: &Clock) -> Judgement {
    let rules = Rules::new(Trip::InARow(1));
    let (rig, provider) = (Rig::<B>::new(clock, rules)?, Checked::default());
    let stop = rig.breaker.probe(Probing::new(provider.check()))?;
    clock.pass(MINUTE);
    provider.becomes(Health::FailsSlowly);
    while provider.running.load(Relaxed) == 0 {
        clock.pass(SECOND / 10);
    }
    clock.block_on(stop);
    clock.pass(10 * SECOND);
    ensure(
        rig.admits(),
        "a check in flight when it stopped opened the breaker",
    )
}

pub(super) fn stalled_checks<B: Breaker>(clock: &Clock) -> Judgement {
    all_of([
        interval_of_zero::<B>(clock),
        check_beside_one_that_hangs::<B>(clock),
    ])
}

fn interval_of_zero<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let probing = Probing {
        every: Duration::ZERO,
        ..Probing::new(Checked::default().check())
    };
    let made = catch_unwind(AssertUnwindSafe(|| rig.breaker.probe(probing).map(drop)));
    match made {
        Ok(Err(lacks)) => Err(lacks.into()),
        made => ensure(made.is_err(), "an interval of 0 is accepted"),
    }
}

fn check_beside_one_that_hangs<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let (well, hangs) = (Checked::default(), Checked::default());
    hangs.becomes(Health::Hangs);
    let probing = Probing {
        every: SECOND,
        timeout: 10 * SECOND,
        checks: vec![well.check(), hangs.check()],
        ..Probing::default()
    };
    let _probe = rig.breaker.probe(probing)?;
    clock.pass(MINUTE);
    let checks = well.begun().len();
    ensure(
        checks > 30,
        format_args!(
            "beside a check that hangs, one due every second ran {checks} times in a minute"
        ),
    )
}

/// For three minutes each call fails while the checks pass.
pub(super) fn shallow_check<B: Breaker>(clock: &Clock) -> Judgement {
    let rules = Rules::new(Trip::InARow(2));
    let (rig, provider) = (Rig::<B>::new(clock, rules)?, Checked::default());
    let _probe = rig.breaker.probe(Probing::new(provider.check()))?;
    clock.pass(MINUTE);
    let mut wasted = 0;
    for _ in 0..180 {
        wasted += rig.fail(1);
        clock.pass(SECOND);
    }
    ensure(
        wasted <= 5,
        format_args!("{wasted} calls were wasted in 3 min"),
    )
}

pub(super) fn broken_check<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, provider) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let _probe = rig.breaker.probe(Probing::new(provider.check()))?;
    clock.pass(MINUTE);
    provider.becomes(Health::Fails);
    for _ in 0..600 {
        ensure(rig.succeed(1) == 1, "a call was refused")?;
        clock.pass(SECOND);
    }
    Ok(())
}

pub(super) fn endless_hold<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, provider) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let _probe = rig.breaker.probe(Probing::new(provider.check()))?;
    clock.pass(MINUTE);
    provider.becomes(Health::Fails);
    rig.trip()?;
    clock.pass(HOUR);
    ensure(rig.admits(), "no call was admitted an hour later")
}

pub(super) fn check_at_the_end<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, provider) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let probing = Probing {
        every: HOUR,
        ..Probing::new(provider.check())
    };
    let _probe = rig.breaker.probe(probing)?;
    clock.pass(MINUTE);
    let before = provider.begun().len();
    rig.trip()?;
    rig.await_half_open();
    ensure(provider.begun().len() > before, "no check ran at that time")
}

pub(super) fn herd<B: Breaker>(clock: &Clock) -> Judgement {
    all_of([
        ten_replicas::<B>(clock),
        hundred_providers::<B>(clock),
        one_that_is_well::<B>(clock),
    ])
}

fn ten_replicas<B: Breaker>(clock: &Clock) -> Judgement {
    let providers = [(); 10].map(|()| Checked::default());
    let replicas = providers.iter().map(|provider| {
        let rig = Rig::<B>::new(clock, Rules::default())?;
        let probe = rig.breaker.probe(Probing::new(provider.check()))?;
        Ok((rig, probe))
    });
    let _replicas = replicas.collect::<Result<Vec<_>, Lacks>>()?;
    clock.pass(10 * MINUTE);
    let last_checks = providers.iter().map(|it| it.begun().last().copied());
    let instants: HashSet<_> = last_checks.collect();
    ensure(instants.len() > 1, "ten replicas check at one instant")
}

fn hundred_providers<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, all) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let probing = Probing {
        checks: (0..100).map(|_| all.check()).collect(),
        at_once: 10,
        ..Probing::default()
    };
    let _probe = rig.breaker.probe(probing)?;
    clock.pass(10 * MINUTE);
    let most = all.most_running.load(Relaxed);
    ensure(
        most <= 10,
        format_args!("{most} of 100 providers are checked at once"),
    )
}

fn one_that_is_well<B: Breaker>(clock: &Clock) -> Judgement {
    let (rig, well) = (Rig::<B>::new(clock, Rules::default())?, Checked::default());
    let probing = Probing {
        suspects_only: true,
        ..Probing::new(well.check())
    };
    let _probe = rig.breaker.probe(probing)?;
    clock.pass(10 * MINUTE);
    ensure(well.begun().is_empty(), "healthy ones are checked")
}

/// A checked provider, and a log of its checks.
#[derive(Clone, Default)]
struct Checked(Arc<Log>);

#[derive(Default)]
struct Log {
    health: Mutex<Health>,
    begun: Mutex<Vec<Instant>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
enum Health {
    #[default]
    Passes,
    Fails,
    FailsSlowly,
    Hangs,
    Panics,
}

impl Checked {
    fn check(&self) -> Check {
        let provider = self.clone();
        Arc::new(move || {
            let provider = provider.clone();
            Box::pin(async move { provider.run().await })
        })
    }

    async fn run(&self) -> bool {
        self.begun().push(Instant::now());
        let running = self.running.fetch_add(1, Relaxed) + 1;
        self.most_running.fetch_max(running, Relaxed);

        let health = *self.health.lock().expect("no panic");
        let (takes, passes) = match health {
            Health::Passes => (SECOND / 10, true),
            Health::Fails => (SECOND / 10, false),
            Health::FailsSlowly => (2 * SECOND, false),
            Health::Hangs => (YEAR, true),
            Health::Panics => panic!("as checks do"),
        };
        sleep(takes).await;
        self.running.fetch_sub(1, Relaxed);
        passes
    }
}

impl Log {
    fn becomes(&self, health: Health) {
        *self.health.lock().expect("no panic") = health;
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.begun.lock().expect("no panic")
    }
}

impl Deref for Checked {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.0
    }
}
