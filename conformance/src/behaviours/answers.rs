//! Tests of answers that are neither successes nor failures of the provider, or only seem to be.

use fastrand::Rng;

use super::{MINUTE, SECOND};
use crate::{
    breaker::{Breaker, Reading, Rules, Trip},
    clock::Clock,
    rig::{Judgement, Rig, at_once, down, ensure},
    work::Problem,
};

/// The mean of ten runs of ten minutes. A breaker may refuse as many calls as fail at random.
pub(super) fn random_errors<B: Breaker>(clock: &Clock) -> Judgement {
    const RUNS: u64 = 10;
    const CALLS: u64 = 60_000;

    let two_in_a_row = || Rig::<B>::new(clock, Rules::new(Trip::InARow(2)));
    let rig = two_in_a_row()?;
    rig.succeed(100);
    rig.fail(2);
    ensure(!rig.admits(), "two at once do not trip")?;

    let mut refused = 0;
    for seed in 0..RUNS {
        let rig = two_in_a_row()?;
        let mut rng = Rng::with_seed(seed);
        for call in 0..CALLS {
            let answer = if rng.u8(..20) == 0 { down() } else { Ok(()) };
            refused += u64::from(rig.answer(1, &answer) == 0);
            if call % 10 == 9 {
                clock.leap(SECOND / 10);
            }
        }
    }
    let refused = refused / RUNS;
    ensure(
        refused <= CALLS / 20,
        format_args!("{refused} of {CALLS} calls were refused"),
    )
}

pub(super) fn only_404s<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    for _ in 0..10 {
        rig.answer(1, &Err(Problem::BadRequest));
        clock.pass(2 * SECOND);
    }
    ensure(rig.is_closed(), "after ten of them it has not closed")
}

pub(super) fn refusing_group<B: Breaker>(clock: &Clock) -> Judgement {
    decides_nothing::<B>(clock, |rig| {
        drop(at_once(rig.breaker.call_refusing_group()));
    })
}

pub(super) fn unprocessed<B: Breaker>(clock: &Clock) -> Judgement {
    decides_nothing::<B>(clock, |rig| {
        rig.answer(1, &Err(Problem::Unprocessed));
    })
}

fn decides_nothing<B: Breaker>(clock: &Clock, call: fn(&Rig<'_, B>)) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    rig.succeed(10);
    for _ in 0..100 {
        call(&rig);
    }
    ensure(rig.admits(), "it opens")?;

    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    for _ in 0..10 {
        call(&rig);
        clock.pass(2 * SECOND);
    }
    ensure(!rig.is_closed(), "half-open, it closes")
}

pub(super) fn last_event<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::half_open(clock, Rules::default())?;
    for _ in 0..3 {
        clock.block_on(rig.breaker.stream(Reading::ToTheLastEvent)?);
        clock.pass(2 * SECOND);
    }
    ensure(rig.is_closed(), "after three of them it has not closed")
}

pub(super) fn short_body<B: Breaker>(clock: &Clock) -> Judgement {
    let rig = Rig::<B>::new(clock, Rules::default())?;
    rig.succeed(10);
    for _ in 0..10 {
        clock.block_on(rig.breaker.stream(Reading::ToAnEndTooSoon)?);
    }
    ensure(!rig.admits(), "ten of them do not trip")?;
    clock.pass(2 * MINUTE);
    ensure(rig.admits(), "it does not come back")
}
