//! Tests of recovery.

use super::{MINUTE, SECOND};
use crate::{
    breaker::{Breaker, Rules, Trip},
    clock::Clock,
    rig::{AFTER_THE_OPEN_WINDOW, Call, Judgement, Rig, all_of, down, ensure},
    work::Problem,
};

pub(super) fn late_success<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let late = rig.calls(10);
    rig.trip()?;
    rig.await_half_open();
    let trial = rig.admitted(AFTER_THE_OPEN_WINDOW)?;
    for call in late {
        call.end(Ok(()));
    }
    trial.end(down());
    ensure(
        !rig.is_closed(),
        "the trial failed, and calls were admitted",
    )
}

pub(super) fn late_failure<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let (late, later) = (rig.calls(5), rig.calls(5));
    rig.trip()?;
    clock.pass(MINUTE / 2);
    for call in late {
        call.end(down());
    }
    clock.pass(MINUTE / 2 + SECOND);
    let trial = rig.admitted("after an open window during which earlier calls failed")?;
    for call in later {
        call.end(down());
    }
    trial.end(Ok(()));
    ensure(
        rig.admits(),
        "the trial succeeded, and no call was admitted",
    )
}

pub(super) fn dropped_trial<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    drop(rig.admitted(AFTER_THE_OPEN_WINDOW)?);
    clock.pass(10 * SECOND);
    ensure(rig.admits(), "no other was admitted 10 s later")
}

pub(super) fn hanging_trial<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    let _hangs = rig.admitted(AFTER_THE_OPEN_WINDOW)?;
    clock.pass(10 * MINUTE);
    ensure(rig.admits(), "no other was admitted 10 min later")
}

/// Ninety callers in a second, all of whom give up.
pub(super) fn hasty_callers<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    let mut admitted = 0;
    for _ in 0..90 {
        admitted += u32::from(rig.admits());
        clock.leap(SECOND / 90);
    }
    ensure(
        admitted <= 2,
        format_args!("{admitted} of 90 were admitted in a second"),
    )
}

pub(super) fn stampede<B: Breaker>(clock: &Clock) -> Judgement {
    for trials in [1, 3] {
        let rig = Rig::<B>::half_open(clock, Rules::default().trials(trials))?;
        let admitted = rig.calls(1_000).len();
        ensure(
            admitted > 0,
            format_args!("{AFTER_THE_OPEN_WINDOW}, no call was admitted"),
        )?;
        // A crate whose number of trials is fixed may admit fewer than configured.
        ensure(
            admitted <= trials as usize,
            format_args!("{admitted} of 1000 were admitted at once, not at most {trials}"),
        )?;
    }
    Ok(())
}

pub(super) fn neutral_trials<B: Breaker>(clock: &Clock) -> Judgement {
    all_of([
        // Row 33 tests whether more of them close the breaker.
        trials_decide_nothing::<B>(clock, 2, "a 400", |trial| {
            trial.end(Err(Problem::BadRequest));
        }),
        trials_decide_nothing::<B>(clock, 10, "a cancellation", drop),
    ])
}

/// A trial that keeps its slot decides nothing either: rows 3 and 33 report it.
fn trials_decide_nothing<B: Breaker>(
    clock: &Clock,
    number: u32,
    that: &str,
    end: fn(Call),
) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    let end = |trial| {
        clock.pass(2 * SECOND);
        end(trial);
        clock.pass(2 * SECOND);
    };
    end(rig.admitted(AFTER_THE_OPEN_WINDOW)?);
    for _ in 1..number {
        let Some(trial) = rig.call() else {
            let reopens = has_opened_2_s_ago(clock, &rig);
            return ensure(!reopens, format_args!("{that} reopens it"));
        };
        end(trial);
    }
    ensure(!rig.is_closed(), format_args!("{that} closes it"))
}

/// Returns whether a breaker that refuses calls opened 2 s ago, for a minute: it admits a call at the end of that open
/// window, and not before. A slot that has a time limit from the start of its trial becomes free earlier.
fn has_opened_2_s_ago<B: Breaker>(clock: &Clock, rig: &Rig<'_, B>) -> bool {
    clock.pass(57 * SECOND);
    let admits_before = rig.admits();
    clock.pass(2 * SECOND);
    !admits_before && rig.admits()
}

/// Two trials must succeed. The time between them exceeds the window of the rate.
pub(super) fn aged_success<B: Breaker>(clock: &Clock) -> Judgement {
    let trip = Trip::RateInTime {
        share: 0.5,
        window: MINUTE / 2,
        at_least: 3,
    };
    let rig = Rig::<B>::new(clock, Rules::new(trip).trials(2))?;
    // Some rates are unknown until their window has passed once.
    clock.pass(MINUTE);
    rig.trip()?;
    rig.await_half_open();
    rig.succeed(1);
    clock.pass(MINUTE);
    rig.succeed(1);
    clock.pass(10 * MINUTE);
    ensure(
        rig.admits(),
        "both trials succeeded, and no call was admitted 10 min later",
    )
}
