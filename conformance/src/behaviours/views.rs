//! Tests of a breaker's views of its state.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use tokio::runtime::Handle;

use super::SECOND;
use crate::{
    breaker::{Breaker, FAILURES, Rules, State},
    clock::{Clock, MOMENT},
    rig::{Judgement, Rig, all_of, ensure, soon},
};

pub(super) fn listeners<B: Breaker>(clock: &Clock) -> Judgement {
    all_of([listener_reads::<B>(clock), listener_panics::<B>(clock)])
}

fn listener_reads<B: Breaker>(clock: &Clock) -> Judgement {
    let breaker = Arc::new(OnceLock::<Weak<B>>::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let rig = Rig::<B>::with_listener(clock, {
        let (breaker, told) = (Arc::clone(&breaker), Arc::clone(&told));
        move |state| {
            // Some notify their listener of the first state during construction.
            if let Some(breaker) = breaker.get().and_then(Weak::upgrade) {
                let views = views_from_elsewhere(breaker);
                told.lock().expect("no panic").push((state, views));
            }
        }
    })?;
    rig.breaker.views()?;
    let _ = breaker.set(Arc::downgrade(&rig.breaker));

    // Some notify their listeners in a task.
    let listen = || clock.pass(MOMENT);
    let mut states = vec![State::Open, State::HalfOpen, State::Closed, State::Open];
    rig.trip()?;
    listen();
    rig.await_half_open();
    rig.succeed(1);
    listen();
    rig.trip()?;
    listen();
    if rig.breaker.reset().is_ok() {
        states.push(State::Closed);
        listen();
    }

    let told = told.lock().expect("no panic");
    let told_states: Vec<_> = told.iter().map(|(state, _)| *state).collect();
    ensure(
        told_states == states,
        format_args!("it is told of {told_states:?}"),
    )?;
    for (state, views) in told.iter() {
        ensure(
            views.is_some(),
            format_args!("a listener that reads the breaker when called with {state:?} deadlocks"),
        )?;
        let is_old = views.iter().flatten().any(|admits| match state {
            State::Closed => !admits,
            State::Open => *admits,
            // A half-open breaker may or may not admit a call.
            State::HalfOpen => false,
        });
        ensure(
            !is_old,
            format_args!("a listener called with {state:?} reads the state before"),
        )?;
    }
    Ok(())
}

/// Reads the views in another thread, because a deadlock here would hang the test. `None` if it deadlocks.
fn views_from_elsewhere<B: Breaker>(breaker: Arc<B>) -> Option<Vec<bool>> {
    let runtime = Handle::current();
    let reader = thread::spawn(move || {
        let _entered = runtime.enter();
        breaker.views().ok()
    });
    soon(|| reader.is_finished()).then(|| reader.join().expect("no panic"))?
}

fn listener_panics<B: Breaker>(clock: &Clock) -> Judgement {
    let is_made = Arc::new(AtomicBool::new(false));
    let rig = Rig::<B>::with_listener(clock, {
        let is_made = Arc::clone(&is_made);
        move |_| assert!(!is_made.load(Relaxed), "as listeners do")
    })?;
    is_made.store(true, Relaxed);

    // A panic that also reaches the call is not judged.
    let try_to = |step: &dyn Fn() -> usize| drop(catch_unwind(AssertUnwindSafe(step)));
    try_to(&|| rig.fail(FAILURES));
    ensure(!rig.admits(), "with one that panics it does not trip")?;
    rig.await_half_open();
    try_to(&|| rig.succeed(1));
    try_to(&|| rig.succeed(1));
    ensure(rig.admits(), "with one that panics it does not come back")
}

pub(super) fn gauges<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    rig.succeed(5);
    let gauges = rig.breaker.gauges()?;
    let ones = gauges.into_iter().filter(|is_one| *is_one).count();
    ensure(
        ones == 1,
        format_args!("{ones} do, once it has been in each state"),
    )
}

pub(super) fn views_agree<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let look = |when| {
        let views = rig.breaker.views()?;
        let admits = rig.admits();
        let is_otherwise = views.into_iter().any(|view| view != admits);
        let [says, does] = if admits {
            ["refuses", "admits"]
        } else {
            ["admits", "refuses"]
        };
        ensure(
            !is_otherwise,
            format_args!("{when}, it reports that it {says} calls, but {does} one"),
        )
    };
    look("closed")?;
    rig.trip()?;
    look("open")?;
    rig.await_half_open();
    look("when its open window has ended")?;
    clock.pass(10 * SECOND);
    rig.succeed(5);
    look("closed again")
}
