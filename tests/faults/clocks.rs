//! Clocks that leap or go back. Only paused clocks do, in test suites whose caches outlive their runtimes.

use std::{
    future::{pending, ready},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    runtime::Builder,
    time::{advance, sleep},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{ServiceExt, service_fn};
use tower_health::{
    Backoff, BoxError, Exhausted, FallbackChain, HealthProbe, Override, Policy, State, Trials,
    Trip,
    error::{NoHealthyProvider, find},
};

use crate::{
    answer, assert_well,
    rig::{Rig, secs},
};

const YEAR: Duration = secs(365 * 24 * 60 * 60);

/// Years: from within the longest wait, which is thirty years, to close to the limit of a stamp.
const LEAPS: [u32; 4] = [1, 31, 100, 500];

#[test]
fn leap_ends_whatever_is_waited_for() {
    let waits: [fn(&Rig); 7] = [
        |rig| drop(rig.trial()),
        |rig| mem::forget(rig.trial()),
        |rig| rig.trial().failure("down"),
        |rig| rig.throttle(secs(60 * 60)),
        |rig| rig.mark_unhealthy("down"),
        |rig| rig.force(Override::Open, secs(60), "maintenance"),
        |rig| rig.set_policy(Policy::new().trials(Trials::default().by_probe_only(true))),
    ];
    for wait in waits {
        with_leaps(async |leap| {
            let rig = Rig::half_open(Policy::new()).await;
            wait(&rig);
            assert!(!rig.is_healthy());
            advance(leap).await;
            assert_well(&rig);
        });
    }
}

#[test]
fn leap_ends_an_override_of_what_is_open_beneath() {
    with_leaps(async |leap| {
        let rig = Rig::open(Policy::new());
        rig.force(Override::Closed, secs(60), "trust me");
        advance(leap).await;
        assert_well(&rig);
    });
}

#[test]
fn leap_ends_a_streak_and_empties_a_window() {
    with_leaps(async |leap| {
        let trip = Trip::consecutive(3)
            .or_failure_rate(0.5, secs(30))
            .min_calls(4);
        let rig = Rig::new(Policy::new().trip(trip));
        for outcome in [true, false, false] {
            if outcome { rig.succeed() } else { rig.fail() }
        }
        advance(leap).await;
        for _ in 0..2 {
            rig.succeed();
            rig.fail();
            assert_eq!(rig.health().consecutive_failures, 1);
        }
        assert_eq!(rig.state(), State::Open, "2 of 4");
    });
}

#[test]
fn call_that_has_run_for_years_is_slow_and_dropped_late() {
    with_leaps(async |leap| {
        let trip = Trip::consecutive(2)
            .slow_call(secs(10))
            .cancelled_after(secs(10));
        let rig = Rig::new(Policy::new().trip(trip));
        let (slow, dropped) = (rig.call(), rig.call());
        advance(leap).await;
        slow.success();
        drop(dropped);
        assert_eq!(rig.state(), State::Open);
    });
}

/// Longer durations count as thirty years.
#[test]
fn longest_waits_outlast_a_year_and_no_more_than_thirty() {
    let longest = Policy::new().backoff(Backoff::constant(Duration::MAX));
    for years in LEAPS {
        in_paused_time(async {
            let rig = Rig::open(longest.clone());
            let forced = Rig::new(Policy::new());
            forced.force(Override::Open, Duration::MAX, "for good");
            advance(YEAR * years).await;
            assert_eq!(rig.is_healthy(), years > 30);
            assert_eq!(forced.is_healthy(), years > 30);
        });
    }
}

#[test]
fn probe_takes_one_turn_after_a_leap_and_keeps_its_pace() {
    with_leaps(async |leap| {
        let rig = Rig::new(Policy::new());
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let probe = HealthProbe::new(&rig.cache).jitter(0.0);
        let probe = probe.check(Rig::ID, move || {
            counted.fetch_add(1, SeqCst);
            ready(())
        });
        let probe = probe.spawn();
        sleep(secs(1)).await;
        assert_eq!(turns.swap(0, SeqCst), 1);

        advance(leap).await;
        sleep(secs(1)).await;
        assert_eq!(turns.swap(0, SeqCst), 1);
        sleep(secs(60)).await;
        assert_eq!(turns.load(SeqCst), 2);
        probe.stop().await;
    });
}

#[test]
fn chain_is_cut_off_by_a_leap() {
    with_leaps(async |leap| {
        let rig = Rig::new(Policy::new());
        let hangs = service_fn(|()| pending::<Result<(), BoxError>>());
        let chain = FallbackChain::new().entry(rig.provider.clone(), hangs);
        let mut call = task::spawn(chain.deadline(secs(10)).oneshot(()));
        assert_pending!(call.poll());

        advance(leap).await;
        let error = assert_ready_err!(call.poll());
        let exhausted = find::<NoHealthyProvider>(&*error).unwrap();
        assert_eq!(exhausted.attempts[0].reason, "deadline exceeded");
    });
}

#[test]
fn chain_that_waits_is_served_after_a_leap() {
    with_leaps(async |leap| {
        let rig = Rig::open(Policy::new());
        let chain = FallbackChain::new().entry(rig.provider.clone(), answer(Ok(())));
        let waits = chain.when_exhausted(Exhausted::Wait(secs(10)));
        let mut call = task::spawn(waits.oneshot(()));
        assert_pending!(call.poll());

        advance(leap).await;
        assert_ready_ok!(call.poll());
    });
}

/// Stamps are limited to 584 years.
#[test]
fn end_of_time_stops_nobody() {
    in_paused_time(async {
        let trip = Trip::consecutive(2).or_failure_rate(1.0, secs(30));
        for _ in 0..3 {
            advance(YEAR * 500).await;
            let rig = Rig::half_open(Policy::new().trip(trip.clone().slow_call(secs(10)))).await;
            assert_well(&rig);
        }
    });
}

/// The cache has seen a later time in another runtime.
#[test]
fn clock_that_goes_back_breaks_nothing_that_an_operator_cannot_mend() {
    let trip = Trip::consecutive(2).or_failure_rate(0.5, secs(30));
    let trip = trip.slow_call(secs(10)).cancelled_after(secs(10));
    let rig = Rig::new(Policy::new().trip(trip));
    let from_the_future = in_paused_time(async {
        advance(YEAR * 100).await;
        rig.succeed();
        let call = rig.call();
        rig.trip();
        rig.await_half_open().await;
        (call, rig.trial())
    });
    in_paused_time(async {
        drop(from_the_future);
        rig.force(Override::Closed, secs(60), "trust me");
        rig.succeed();
        rig.fail();
        rig.throttle(secs(60));
        rig.unforce();
        rig.mark_unhealthy("down");

        rig.mark_healthy();
        rig.trip();
        rig.await_half_open().await;
        assert_well(&rig);
    });
}

/// Runs `scene` once for each leap, each starting from the present.
fn with_leaps(scene: impl AsyncFn(Duration)) {
    for years in LEAPS {
        in_paused_time(scene(YEAR * years));
    }
}

fn in_paused_time<T>(scene: impl Future<Output = T>) -> T {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(scene)
}
