//! Tests of trip rules and of open windows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use super::{DAY, HOUR, MINUTE, SECOND, YEAR};
use crate::{
    breaker::{Breaker, FAILURES, Lacks, Rules, Trip},
    clock::Clock,
    rig::{Judgement, Rig, ensure},
};

pub(super) fn million_successes_then_in_a_row<B: Breaker>(clock: &Clock) -> Judgement {
    million_successes_delay_no_trip::<B>(clock, Trip::InARow(10))
}

pub(super) fn million_successes_then_in_time<B: Breaker>(clock: &Clock) -> Judgement {
    let trip = Trip::RateInTime {
        share: 0.5,
        window: MINUTE / 2,
        at_least: 10,
    };
    million_successes_delay_no_trip::<B>(clock, trip)
}

pub(super) fn million_successes_then_of_calls<B: Breaker>(clock: &Clock) -> Judgement {
    let trip = Trip::RateOfCalls {
        share: 0.5,
        calls: 10,
    };
    million_successes_delay_no_trip::<B>(clock, trip)
}

/// Ten successes a second, a minute without calls, so that no time window holds them, and ten failures.
fn million_successes_delay_no_trip<B: Breaker>(clock: &Clock, trip: Trip) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::new(trip))?;
    for _ in 0..100_000 {
        rig.succeed(10);
        clock.leap(SECOND);
    }
    clock.pass(MINUTE);
    for _ in 0..10 {
        rig.fail(1);
        clock.pass(SECOND / 10);
    }
    ensure(!rig.admits(), "ten failures did not trip")
}

pub(super) fn reset_while_closed<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    rig.succeed(10);
    rig.fail(FAILURES - 1);
    rig.breaker.reset()?;
    rig.fail(1);
    ensure(rig.admits(), "the first failure after it tripped")
}

/// Forces open a breaker whose own open windows last a minute.
pub(super) fn forced_open<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    let under_way = rig.admitted("while closed")?;
    rig.breaker.force_open(HOUR)?;
    under_way.end(Ok(()));
    for minute in 0..60 {
        ensure(
            !rig.admits(),
            format_args!("a call was admitted {minute} min later"),
        )?;
        clock.pass(MINUTE);
    }
    clock.pass(MINUTE);
    ensure(rig.admits(), "it stays open beyond its time")
}

pub(super) fn nonsense<B: Breaker>(clock: &Clock) -> Judgement {
    let in_time = |share, window| Trip::RateInTime {
        share,
        window,
        at_least: 10,
    };
    let of_calls = |share| Trip::RateOfCalls { share, calls: 10 };
    // Not here: open for 0 s. Such a breaker is half-open at once, which can limit the concurrency of a failing provider.
    let rules = [
        ("0 failures in a row", Rules::new(Trip::InARow(0))),
        ("0 trials", Rules::default().trials(0)),
        (
            "a rate of NaN in 30 s",
            Rules::new(in_time(f32::NAN, MINUTE / 2)),
        ),
        ("a rate over 0 s", Rules::new(in_time(0.5, Duration::ZERO))),
        ("a rate of NaN of 10 calls", Rules::new(of_calls(f32::NAN))),
    ];
    let judged = rules.into_iter().filter_map(|(what, rules)| {
        match catch_unwind(AssertUnwindSafe(|| Rig::<B>::new(clock, rules))) {
            Ok(Err(Lacks(_))) => None,
            made => Some((what, made.is_ok())),
        }
    });
    let judged: Vec<_> = judged.collect();
    if judged.is_empty() {
        return Err(Lacks("has none of these rules").into());
    }
    let accepted = judged.iter().filter(|(_, is_accepted)| *is_accepted);
    let accepted: Vec<_> = accepted.map(|(what, _)| *what).collect();
    ensure(
        accepted.is_empty(),
        format_args!("accepted: {}", accepted.join(", ")),
    )
}

/// The wall clock stands still here, as if it were set back again and again.
pub(super) fn wall_clock<B: Breaker>(clock: &Clock) -> Judgement {
    let before = SystemTime::now();
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    assert_eq!(SystemTime::now(), before, "it must stand still");
    ensure(rig.admits(), "the window does not end")
}

pub(super) fn streak_ages<B: Breaker>(clock: &Clock) -> Judgement {
    let two_in_a_row = || Rig::<B>::new(clock, Rules::new(Trip::InARow(2)));
    let rig = two_in_a_row()?;
    rig.succeed(100);
    rig.fail(2);
    ensure(!rig.admits(), "two at once do not trip")?;

    let rig = two_in_a_row()?;
    rig.succeed(100);
    rig.fail(1);
    clock.pass(DAY);
    rig.fail(1);
    ensure(rig.admits(), "two failures a day apart trip it")
}

/// Gaps that exceed 32 bits in milliseconds and in seconds.
pub(super) fn idle_gaps<B: Breaker>(clock: &Clock) -> Judgement {
    for (gap, long) in [(50 * DAY, "50 days"), (140 * YEAR, "140 years")] {
        let rig = Rig::<B>::new(clock, Rules::default())?;
        rig.fail(1);
        clock.leap(gap);
        rig.trip()?;
        clock.leap(gap);
        let trial = rig.admitted(format_args!("{long} after the trip"))?;
        clock.leap(gap);
        trial.end(Ok(()));
        rig.succeed(5);
        clock.leap(gap);
        drop(rig.admitted(format_args!("{long} after it closed"))?);
        rig.trip()?;
    }
    Ok(())
}
