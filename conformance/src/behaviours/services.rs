//! Tests of a breaker inside other services and inside the process.

use std::{
    panic::resume_unwind,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    thread,
};

use allocation_counter::measure;
use tower::{ServiceExt, buffer::Buffer};

use crate::{
    breaker::{Breaker, FAILURES, Lacks, Rules, Service},
    clock::Clock,
    rig::{AFTER_THE_OPEN_WINDOW, Judgement, Rig, ensure, poll, soon},
    work::{Judging, Problem, work},
};

/// The breaker refuses a call while it judges the result of another.
pub(super) fn sleepless_refusals<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let other = rig.admitted("while closed")?;
    rig.trip()?;
    let judging = Arc::new(Judging::default());
    let problem = Problem::SlowToJudge(Arc::clone(&judging));
    let (returns, refused) = thread::scope(|scope| {
        let judge = scope.spawn(|| {
            let _entered = clock.enter();
            other.end(Err(problem));
        });
        soon(|| judging.has_begun() || judge.is_finished());
        // In another thread, because a call that blocks here would hang the test.
        let caller = scope.spawn(|| {
            let _entered = clock.enter();
            rig.begin()
        });
        let returns = soon(|| caller.is_finished());
        judging.end();
        let refused = caller.join().unwrap_or_else(|panic| resume_unwind(panic));
        (returns, refused)
    });
    ensure(returns, "it blocks")?;
    // If it waited for a lock, that wait is over now.
    let sleeps = refused.is_some_and(|mut refused| refused.poll().is_pending());
    ensure(!sleeps, "it sleeps")
}

pub(super) fn layered_twice<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let other = rig.with(rig.breaker.layered_again()?);
    rig.fail(FAILURES - 1);
    other.fail(1);
    ensure(!rig.admits() && !other.admits(), "there are two")
}

pub(super) fn readiness<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let is_ready = || Ok::<_, Lacks>(is_ready(rig.breaker.service()?));
    let buffer = Buffer::new(rig.breaker.service()?, 8);
    let buffer_admits = || {
        let (work, backend) = work();
        let is_reached = backend.answer(Ok(()));
        drop(clock.block_on(buffer.clone().oneshot(work)));
        is_reached.load(Relaxed)
    };

    rig.trip()?;
    ensure(is_ready()?, "it is not ready while open")?;
    ensure(!buffer_admits(), "it admits a call while open")?;
    rig.await_half_open();
    let trial = rig.admitted(AFTER_THE_OPEN_WINDOW)?;
    ensure(is_ready()?, "it is not ready while a trial is out")?;
    ensure(!buffer_admits(), "it admits a call while a trial is out")?;
    trial.end(Ok(()));
    ensure(buffer_admits(), "`Buffer` does not live on")
}

fn is_ready(mut service: Service) -> bool {
    matches!(poll(pin!(service.ready())), Poll::Ready(Ok(_)))
}

pub(super) fn names<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let known = rig.breaker.known_providers()?;
    for number in 0..10_000 {
        let is_healthy = rig.breaker.is_healthy(&format!("unknown-{number}"))?;
        ensure(is_healthy, "one that is unknown is not healthy")?;
    }
    ensure(
        rig.breaker.known_providers()? == known,
        "those that were asked about are kept",
    )?;
    rig.with(rig.breaker.named("")?).trip()
}

pub(super) fn memory<B: Breaker>(clock: &Clock) -> Judgement {
    const A_BIT: i64 = 16 << 10;

    let rig = Rig::<B>::new(clock, Rules::default())?;
    let flap = |times| {
        (0..times).try_for_each(|_| {
            rig.trip()?;
            rig.await_half_open();
            rig.succeed(5);
            ensure(rig.admits(), "it does not come back")
        })
    };
    flap(100)?;
    let mut flapped = Ok(());
    let kept = measure(|| flapped = flap(1_000)).bytes_current;
    flapped?;
    ensure(kept < A_BIT, "each outage leaks memory")?;

    let kept = measure(|| {
        rig.answer(FAILURES, &Err(Problem::Down("x".repeat(1 << 20))));
    });
    ensure(kept.bytes_current < A_BIT, "an error is kept whole")
}
