//! The guarantees of `docs/reliability.md` that hold in every state, by number.
//!
//! Rule 8 has a file of its own, `tests/cache/transitions.rs`; the rules that probes add are in `tests/probe`.

use std::{collections::HashSet, convert::Infallible, mem, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, advance},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    Backoff, Cause, HealthCache, HealthLayer, Jitter, Outcome, Override, Permit, Policy, Reason,
    State, Trials, Trip,
};

use crate::rig::{MOMENT, Race, Rig, assert_same, just_under, received, secs, without_jitter};

fn doubling() -> Policy {
    Policy::new().backoff(Backoff::exponential(secs(10), secs(60)))
}

// Rule 0: a wait named by a failure is kept for as long as its streak.

fn failure_that_names(wait: Duration) -> Outcome {
    Outcome::Failure {
        reason: "down for maintenance".into(),
        retry_after: (!wait.is_zero()).then_some(wait),
    }
}

/// Rule 0: any failure of the streak may name it.
#[tokio::test(start_paused = true)]
async fn rule_0_window_ends_no_sooner_than_the_furthest_time_that_its_streak_named() {
    for (first, second) in [(600, 0), (600, 5), (0, 600), (5, 600)] {
        let rig = Rig::new(without_jitter(Policy::new()));
        for wait in [first, second] {
            rig.call().record(failure_that_names(secs(wait)));
        }
        let health = rig.health();
        assert_eq!(
            health.retry_in,
            Some(secs(600)),
            "{first} s, then {second} s"
        );
        assert_eq!(health.not_before, Some(secs(600)));
    }
}

/// Rule 0: the named wait does not start again at the last failure.
#[tokio::test(start_paused = true)]
async fn rule_0_time_that_a_failure_named_counts_from_that_failure() {
    let rig = Rig::new(without_jitter(Policy::new()));
    rig.call().record(failure_that_names(secs(600)));
    advance(secs(200)).await;
    rig.fail();
    assert_eq!(rig.wait(), secs(400));
}

/// Rule 0: the named time is forgotten when its streak ends.
#[tokio::test(start_paused = true)]
async fn rule_0_time_that_was_named_ends_with_its_streak() {
    let end_streak: [fn(&Rig); 3] = [
        |rig| rig.succeed(),
        |rig| rig.mark_healthy(),
        |rig| (0..3).for_each(|_| rig.call().answered()),
    ];
    for end in end_streak {
        let rig = Rig::new(Policy::new());
        rig.call().record(failure_that_names(secs(600)));
        end(&rig);
        rig.trip();
        assert_eq!(rig.wait(), secs(60));
    }

    let rig = Rig::new(Policy::new());
    rig.call().record(failure_that_names(secs(1_000)));
    advance(secs(301)).await;
    rig.trip();
    assert_eq!(
        rig.wait(),
        secs(60),
        "the first failure is too old to count"
    );
}

/// Rule 0: within the bounds of the policy, also for a mark and a fatal failure.
#[tokio::test(start_paused = true)]
async fn rule_0_holds_for_whatever_the_streak_trips_by() {
    let trip: [fn(&Rig); 3] = [
        |rig| rig.fail(),
        |rig| rig.mark_unhealthy("down"),
        |rig| rig.call().record(Outcome::fatal("401")),
    ];
    for trip in trip {
        let rig = Rig::new(without_jitter(Policy::new()));
        rig.call().record(failure_that_names(secs(100_000)));
        trip(&rig);
        assert_eq!(rig.wait(), secs(3_600));
    }
}

// Rule 1: late results never move the breaker.

const VERDICTS: [fn(Permit); 7] = [
    Permit::success,
    Permit::answered,
    Permit::neutral,
    drop,
    |permit| permit.failure("late"),
    |permit| {
        permit.record(Outcome::Failure {
            reason: "late".into(),
            retry_after: Some(secs(3_000)),
        });
    },
    |mut permit| permit.release_slot(),
];

/// The state that the breaker has reached since the late call began.
#[derive(Clone, Copy, Debug)]
enum Since {
    Open,
    HalfOpen,
    OnTrial,
    Pausing,
    HalfProven,
    Closed,
    ClosedWithAStreak,
}

impl Since {
    const ALL: [Self; 7] = [
        Self::Open,
        Self::HalfOpen,
        Self::OnTrial,
        Self::Pausing,
        Self::HalfProven,
        Self::Closed,
        Self::ClosedWithAStreak,
    ];

    /// Brings an open breaker to this state, and returns the permit in flight, if any.
    async fn reach(self, rig: &Rig) -> Option<Permit> {
        if !matches!(self, Self::Open) {
            rig.await_half_open().await;
        }
        match self {
            Self::Open | Self::HalfOpen => {}
            Self::OnTrial => return Some(rig.trial()),
            Self::Pausing => {
                drop(rig.trial());
                advance(secs(1) / 2).await;
            }
            Self::HalfProven => rig.succeed(),
            Self::Closed | Self::ClosedWithAStreak => {
                rig.succeed();
                rig.succeed();
            }
        }
        if matches!(self, Self::ClosedWithAStreak) {
            rig.fail();
        }
        None
    }
}

fn two_to_close() -> Policy {
    let trip = Trip::consecutive(2).cancelled_after(secs(3_600));
    Policy::new().trip(trip).trials(Trials::new(1).to_close(2))
}

/// Rule 1; scenarios 1 and 2.
#[tokio::test(start_paused = true)]
async fn rule_1_verdict_from_before_the_trip_moves_nothing() {
    for verdict in VERDICTS {
        for since in Since::ALL {
            let rig = Rig::new(two_to_close());
            let call = rig.call();
            rig.trip();
            let _in_flight = since.reach(&rig).await;

            let before = rig.health();
            verdict(call);
            assert_same(&before, &rig.health());
        }
    }
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_verdict_of_a_trial_of_an_earlier_round_moves_nothing() {
    for verdict in VERDICTS {
        for since in Since::ALL {
            let rig = Rig::half_open(two_to_close()).await;
            let trial = rig.trial();
            rig.mark_unhealthy("still down");
            let _in_flight = since.reach(&rig).await;

            let before = rig.health();
            verdict(trial);
            assert_same(&before, &rig.health());
        }
    }
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_verdict_of_a_round_that_another_trial_has_closed_moves_nothing() {
    for verdict in VERDICTS {
        let rig = Rig::half_open(Policy::new().trials(Trials::new(2))).await;
        let (first, second) = (rig.trial(), rig.trial());
        first.success();
        rig.fail();

        let before = rig.health();
        verdict(second);
        assert_same(&before, &rig.health());
    }
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_late_failure_does_not_count_in_the_window() {
    let policy = Policy::new().trip(Trip::failure_rate(0.5, secs(300)).min_calls(2));
    let rig = Rig::new(policy);
    let late = rig.call();
    rig.trip();
    rig.await_half_open().await;
    rig.succeed();
    late.failure("late");
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
}

/// Rules 1 and 11.
#[tokio::test(start_paused = true)]
async fn rule_1_late_cancellation_is_no_failure() {
    let policy = Policy::new().trip(Trip::consecutive(2).cancelled_after(secs(1)));
    for since in Since::ALL {
        let rig = Rig::new(policy.clone().trials(Trials::new(1).to_close(2)));
        let call = rig.call();
        rig.trip();
        advance(secs(1)).await;
        let _in_flight = since.reach(&rig).await;

        let before = rig.health();
        drop(call);
        assert_same(&before, &rig.health());
    }
}

/// Exception to rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_late_throttle_raises_the_deadline_and_never_shortens_it() {
    let rig = Rig::new(without_jitter(Policy::new()));
    let late = [(); 4].map(|()| rig.call());
    rig.trip();
    let tripped = rig.health();
    let waits = [None, Some(secs(5)), Some(secs(90)), Some(secs(10))];
    for (call, (wait, until)) in late
        .into_iter()
        .zip(waits.into_iter().zip([60, 60, 90, 90]))
    {
        call.throttled(wait, "slow down");
        assert_eq!(rig.wait(), secs(until));
    }
    let health = rig.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, tripped.cause);
    assert_eq!(health.consecutive_failures, tripped.consecutive_failures);
    assert_eq!(health.since, tripped.since);

    advance(secs(90)).await;
    assert!(rig.call().is_trial());
}

/// Exception to rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_late_throttle_counts_from_when_it_was_said_and_within_bounds() {
    let rig = Rig::new(without_jitter(Policy::new()));
    let late = [rig.call(), rig.call()];
    rig.trip();
    let [first, second] = late;
    advance(secs(50)).await;
    first.throttled(None, "slow down");
    assert_eq!(rig.wait(), secs(15));
    second.throttled(Some(Duration::MAX), "slow down");
    assert_eq!(rig.wait(), secs(3_600));
}

/// Exception to rule 1: a throttle moves a deadline, and only an open breaker has one.
#[tokio::test(start_paused = true)]
async fn rule_1_late_throttle_opens_nothing() {
    for since in Since::ALL {
        if matches!(since, Since::Open) {
            continue;
        }
        let rig = Rig::new(two_to_close());
        let call = rig.call();
        rig.trip();
        let _in_flight = since.reach(&rig).await;

        let before = rig.health();
        call.throttled(Some(secs(90)), "slow down");
        assert_same(&before, &rig.health());
    }
}

/// Exception to rule 1.
#[tokio::test(start_paused = true)]
async fn rule_1_throttle_of_a_call_that_only_a_force_admitted_raises_the_deadline() {
    let rig = Rig::open(without_jitter(Policy::new()));
    rig.force(Override::Closed, secs(10), "trust me");
    rig.throttle(secs(90));
    assert!(rig.is_healthy());
    rig.unforce();
    assert_eq!(rig.wait(), secs(90));
}

// Rule 2: only its permit decides a trial.

/// Rule 2.
#[tokio::test(start_paused = true)]
async fn rule_2_stranger_does_not_decide_a_round() {
    for verdict in VERDICTS {
        let rig = Rig::half_open(Policy::new()).await;
        let trial = rig.trial();
        rig.force(Override::Closed, secs(90), "let one pass");
        let stranger = rig.call();
        rig.unforce();

        let before = rig.health();
        verdict(stranger);
        assert_same(&before, &rig.health());

        trial.success();
        assert_eq!(rig.state(), State::Closed);
    }
}

// Rule 3: no wedge.

/// Rule 3; scenario 3.
#[tokio::test(start_paused = true)]
async fn rule_3_dropped_trial_gives_its_slot_back_after_the_pause() {
    let rig = Rig::half_open(Policy::new()).await;
    drop(rig.trial());
    assert_eq!(rig.state(), State::HalfOpen);
    assert_eq!(rig.wait(), secs(1));
    advance(secs(1)).await;
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

/// Rule 3; scenario 4.
#[tokio::test(start_paused = true)]
async fn rule_3_trial_that_hangs_keeps_its_slot_no_longer_than_its_lease() {
    for lease in [secs(60), secs(5)] {
        let rig = Rig::half_open(Policy::new().trials(Trials::new(2).lease(lease))).await;
        let _hung = rig.trial();
        advance(secs(1)).await;
        mem::forget(rig.trial());
        assert_eq!(
            rig.wait(),
            lease.saturating_sub(secs(1)),
            "of the older one"
        );
        advance(lease.saturating_sub(secs(1))).await;
        let _third = rig.trial();
        assert_eq!(rig.wait(), secs(1), "of the forgotten one");
        advance(secs(1)).await;
        rig.trial().success();
        assert_eq!(rig.state(), State::Closed);
    }
}

/// Rule 3: even when no trial ends for hours.
#[tokio::test(start_paused = true)]
async fn rule_3_admits_one_trial_a_lease_for_ever() {
    let rig = Rig::half_open(Policy::new()).await;
    for _ in 0..1_000 {
        mem::forget(rig.trial());
        assert_eq!(rig.wait(), secs(60));
        advance(secs(60)).await;
    }
}

/// Rule 3: the lease limits the slot, not the verdict.
#[tokio::test(start_paused = true)]
async fn rule_3_verdict_after_the_lease_still_speaks_for_the_trial() {
    let rig = Rig::half_open(Policy::new()).await;
    let slow = rig.trial();
    advance(secs(60)).await;
    let _next = rig.trial();
    slow.success();
    assert_eq!(rig.state(), State::Closed);

    let rig = Rig::half_open(doubling()).await;
    let slow = rig.trial();
    advance(secs(60)).await;
    let next = rig.trial();
    slow.failure("timeout");
    assert_eq!(rig.state(), State::Open);
    next.neutral();
    assert_eq!(rig.wait(), secs(20));
}

/// Rules 3 and 4: a permit without a slot has none to give back.
#[tokio::test(start_paused = true)]
async fn rule_3_trial_without_a_slot_does_not_free_that_of_the_next() {
    let give_up: [fn(Permit); 3] = [Permit::neutral, drop, |mut permit| permit.release_slot()];
    for end in give_up {
        let rig = Rig::half_open(Policy::new()).await;
        let expired = rig.trial();
        advance(secs(60)).await;
        let mut released = rig.trial();
        released.release_slot();
        let _next = rig.trial();

        let before = rig.health();
        assert_eq!(before.retry_in, Some(secs(60)));
        end(expired);
        end(released);
        assert_same(&before, &rig.health());
    }
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn rule_3_released_slot_admits_the_next_trial_and_the_verdict_still_counts() {
    let rig = Rig::half_open(doubling()).await;
    let mut first = rig.trial();
    first.release_slot();
    first.release_slot();
    let second = rig.trial();
    assert!(rig.admit().is_err());
    first.success();
    assert_eq!(rig.state(), State::Closed);
    second.failure("late");
    assert_eq!(rig.health().consecutive_failures, 0);

    let rig = Rig::half_open(doubling()).await;
    let mut first = rig.trial();
    first.release_slot();
    first.failure("reset");
    assert_eq!(rig.wait(), secs(20));

    let rig = Rig::half_open(without_jitter(doubling())).await;
    let mut first = rig.trial();
    first.release_slot();
    first.throttled(Some(secs(7)), "slow down");
    assert_eq!(rig.wait(), secs(7));
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn rule_3_trial_dropped_after_its_slot_was_released_takes_no_pause() {
    let rig = Rig::half_open(Policy::new()).await;
    let mut trial = rig.trial();
    trial.release_slot();
    drop(trial);
    assert!(rig.is_healthy());
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn rule_3_trial_dropped_after_its_lease_takes_no_pause() {
    let rig = Rig::half_open(Policy::new()).await;
    let hung = rig.trial();
    advance(secs(60)).await;
    drop(hung);
    assert!(rig.is_healthy());
}

// Rule 4: no stampede.

/// Rule 4; scenarios 6 and 42.
#[tokio::test(start_paused = true)]
async fn rule_4_of_a_thousand_tasks_exactly_as_many_as_trials_are_admitted() {
    for trials in [1, 7] {
        let rig = Rig::open(Policy::new().trials(Trials::new(trials)));
        advance(secs(60)).await;
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let provider = rig.provider.clone();
                tokio::spawn(async move {
                    let admission = provider.admit();
                    tokio::task::yield_now().await;
                    admission
                })
            })
            .collect();
        let mut admitted = Vec::new();
        for task in tasks {
            admitted.extend(task.await.unwrap().ok());
        }
        assert_eq!(admitted.len(), trials as usize);
        assert!(admitted.iter().all(Permit::is_trial));
    }
}

/// Rule 4, on OS threads; scenario 6.
#[tokio::test(start_paused = true)]
async fn rule_4_holds_among_threads_that_do_contend() {
    let rig = Rig::new(Policy::new().trials(Trials::new(3)));
    let runtime = Handle::current();
    let race = Race::default();
    for _ in race.rounds(100) {
        rig.mark_healthy();
        rig.throttle(Duration::ZERO);
        let admitted = race.run(8, |_| {
            let _paused_time = runtime.enter();
            let admissions = (0..200).filter_map(|_| rig.admit().ok());
            admissions.collect::<Vec<_>>()
        });
        assert_eq!(admitted.iter().flatten().count(), 3);
    }
    race.assert_contended();
}

/// Rule 4; scenario 5: ninety calls a second, each dropped at once.
#[tokio::test(start_paused = true)]
async fn rule_4_callers_who_give_up_early_get_one_trial_a_pause() {
    for (trials, pause, admitted_in_ten_seconds) in [
        (Trials::new(1), secs(1), 10),
        (Trials::new(3), secs(1), 30),
        (Trials::new(1), secs(5), 2),
        (Trials::new(1), Duration::ZERO, 900),
    ] {
        let rig = Rig::half_open(Policy::new().trials(trials.pause(pause))).await;
        let mut admitted = 0;
        for _ in 0..900 {
            admitted += usize::from(rig.admit().is_ok());
            advance(secs(10) / 900).await;
        }
        assert_eq!(admitted, admitted_in_ten_seconds);
    }
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn rule_4_each_dropped_trial_pauses_its_own_slot() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(2))).await;
    drop(rig.trial());
    assert!(rig.is_healthy());
    let second = rig.trial();
    assert_eq!(rig.wait(), secs(1));
    second.neutral();
    assert!(rig.is_healthy());
}

/// Rule 4: the cost of a trial does not grow with the number of trials in flight.
#[tokio::test(start_paused = true)]
async fn rule_4_ten_times_the_trials_at_once_take_little_longer_each() {
    let orders: [fn(usize, usize) -> usize; 3] = [
        |at, _| at,
        |at, trials| trials - 1 - at,
        |at, trials| at * 7_919 % trials,
    ];
    for order in orders {
        let mut few = Duration::MAX;
        let mut many = Duration::MAX;
        for _ in 0..3 {
            few = few.min(time_of_trials(4_000, order).await);
            many = many.min(time_of_trials(40_000, order).await);
        }
        assert!(
            many < 4 * few,
            "{few:?} each, of ten times as many {many:?}"
        );
    }
}

/// Returns the mean time of a trial when `trials` of them are in flight at once and end in this order.
async fn time_of_trials(trials: usize, order: fn(usize, usize) -> usize) -> Duration {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(u32::MAX))).await;
    let begun = std::time::Instant::now();
    let admit = |_| rig.provider.admit().ok();
    let mut in_flight: Vec<_> = (0..trials).map(admit).collect();
    for at in 0..trials {
        let trial = in_flight[order(at, trials)].take();
        trial.expect("each ends once").neutral();
    }
    begun.elapsed() / u32::try_from(trials).expect("not so many")
}

/// Rules 2 and 4: however many trials have ended since, none is confused with one in flight.
#[tokio::test(start_paused = true)]
async fn rule_4_trial_in_flight_shares_its_name_with_no_other() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(2))).await;
    let in_flight = rig.trial();
    for _ in 0..1 << 20 {
        rig.provider.admit().unwrap().neutral();
    }
    let other = rig.trial();
    in_flight.neutral();
    let _third = rig.trial();
    assert!(rig.admit().is_err(), "two are in flight");
    drop(other);
}

/// Rule 4: the pause belongs to its round.
#[tokio::test(start_paused = true)]
async fn rule_4_pause_ends_with_its_round() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(2).pause(secs(600)))).await;
    let trial = rig.trial();
    drop(rig.trial());
    trial.failure("down");
    rig.await_half_open().await;
    let _trials = [rig.trial(), rig.trial()];
}

/// Rule 4: the limit falls below the number of trials in flight.
#[tokio::test(start_paused = true)]
async fn rule_4_lowered_limit_counts_the_trials_already_in_flight() {
    let rig = Rig::half_open(Policy::new().trials(Trials::new(3))).await;
    let _first = rig.trial();
    advance(secs(10)).await;
    let _second = rig.trial();
    advance(secs(10)).await;
    let _third = rig.trial();
    rig.set_policy(Policy::new());
    assert_eq!(rig.wait(), secs(60), "until the last of them is over");
    advance(just_under(secs(60))).await;
    assert!(rig.admit().is_err());
    advance(MOMENT).await;
    let _next = rig.trial();
}

/// Rule 4: a hanging trial is still in flight in the next half-open time.
#[tokio::test(start_paused = true)]
async fn rule_4_trial_in_flight_keeps_its_slot_from_one_round_to_the_next() {
    let trials = Trials::new(2).lease(secs(90));
    let rig = Rig::half_open(Policy::new().trials(trials)).await;
    let hanging = rig.trial();
    rig.trial().failure("down");

    rig.await_half_open().await;
    let second = rig.trial();
    assert!(rig.admit().is_err(), "two are in flight");
    assert_eq!(rig.wait(), secs(30), "until the lease of the first is over");

    hanging.success();
    assert_eq!(rig.state(), State::HalfOpen, "rule 1: it was late");
    let _third = rig.trial();
    drop(second);
}

/// Rules 4 and 7: the wait in a refusal takes trials in flight into account.
#[tokio::test(start_paused = true)]
async fn rule_4_open_breaker_tells_when_a_slot_is_free_too() {
    let rig = Rig::half_open(Policy::new().trials(Trials::default().lease(secs(90)))).await;
    let hanging = rig.trial();
    rig.mark_unhealthy("still down");
    assert_eq!(
        rig.wait(),
        secs(90),
        "the window ends after 60 s, the lease later"
    );
    hanging.neutral();
    assert_eq!(rig.wait(), secs(60));
}

/// Rule 4: a granted trial needs a free slot too.
#[tokio::test(start_paused = true)]
async fn rule_4_no_trial_is_granted_while_one_of_an_earlier_round_is_in_flight() {
    let trials = Trials::new(3).lease(secs(90));
    let rig = Rig::half_open(Policy::new().trials(trials)).await;
    let hanging = rig.trial();
    rig.trial().failure("down");
    advance(secs(1)).await;

    let before = rig.health();
    assert!(!rig.grant_trial());
    assert_same(&before, &rig.health());

    hanging.neutral();
    assert!(rig.grant_trial());
    let _trial = rig.trial();
}

// Rule 5: the streak ages.

/// Rule 5; scenario 18.
#[tokio::test(start_paused = true)]
async fn rule_5_failures_further_apart_than_within_are_not_consecutive() {
    for (trip, within) in [
        (Trip::default(), secs(300)),
        (Trip::consecutive(2).within(secs(7)), secs(7)),
    ] {
        let rig = Rig::new(Policy::new().trip(trip));
        for _ in 0..10 {
            rig.fail();
            assert_eq!(rig.health().consecutive_failures, 1);
            advance(within + MOMENT).await;
            assert_eq!(rig.health().consecutive_failures, 0);
            assert_eq!(rig.state(), State::Closed);
        }
        rig.fail();
        advance(within).await;
        rig.fail();
        assert_eq!(rig.state(), State::Open);
    }
}

/// Rule 5: the gap between failures counts, not the age of the first.
#[tokio::test(start_paused = true)]
async fn rule_5_long_streak_of_small_gaps_trips() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(10)));
    for _ in 0..9 {
        rig.fail();
        advance(secs(299)).await;
    }
    assert_eq!(rig.state(), State::Closed);
    rig.mark_unhealthy("down");
    assert_eq!(rig.state(), State::Open);
}

// Rule 6: backoff.

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_constant_backoff_stays_the_same() {
    let rig = Rig::open(Policy::new());
    for _ in 0..5 {
        assert_eq!(rig.wait(), secs(60));
        rig.await_half_open().await;
        rig.fail();
    }
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_exponential_backoff_grows_by_its_factor_up_to_its_cap() {
    let backoff = Backoff::exponential(secs(1), secs(30)).factor(3.0);
    let rig = Rig::open(Policy::new().backoff(backoff));
    for wait in [1, 3, 9, 27, 30, 30] {
        assert_eq!(rig.wait(), secs(wait));
        rig.await_half_open().await;
        rig.fail();
    }
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_jitter_spreads_the_waits_within_its_share() {
    for (jitter, shortest) in [(Jitter::Equal, secs(30)), (Jitter::Full, Duration::ZERO)] {
        let policy = Policy::new().backoff(Backoff::constant(secs(60)).jitter(jitter));
        let waits: HashSet<_> = (0..64)
            .map(|_| Rig::open(policy.clone()).wait())
            .inspect(|wait| assert!((shortest..=secs(60)).contains(wait), "{wait:?}"))
            .collect();
        assert!(waits.len() > 32, "{jitter:?} gave {} waits", waits.len());
    }
}

/// A breaker that was open for 10, 20 and 40 s, and is closed again.
async fn closed_at_the_third_level() -> Rig {
    let rig = Rig::half_open(doubling()).await;
    for wait in [20, 40] {
        rig.fail();
        assert_eq!(rig.wait(), secs(wait));
        rig.await_half_open().await;
    }
    rig.succeed();
    rig
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_level_is_kept_by_one_that_does_not_stay_closed_as_long_as_it_was_open() {
    let rig = closed_at_the_third_level().await;
    for _ in 0..3 {
        advance(just_under(secs(40))).await;
        rig.trip();
        assert_eq!(rig.wait(), secs(40));
        rig.await_half_open().await;
        rig.succeed();
    }
    rig.trip();
    rig.await_half_open().await;
    rig.fail();
    assert_eq!(rig.wait(), secs(60), "and it still rises");
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_level_falls_back_after_as_long_closed_as_the_last_open_window() {
    let rig = closed_at_the_third_level().await;
    advance(secs(40)).await;
    rig.trip();
    assert_eq!(rig.wait(), secs(10));
    rig.await_half_open().await;
    rig.fail();
    assert_eq!(rig.wait(), secs(20));
}

/// Rule 6: a pause that the provider asked for is not a relapse.
#[tokio::test(start_paused = true)]
async fn rule_6_level_that_has_fallen_back_does_not_return_with_a_throttle() {
    let rig = closed_at_the_third_level().await;
    advance(secs(40)).await;
    rig.throttle(secs(15));
    rig.await_half_open().await;
    rig.fail();
    assert_eq!(rig.wait(), secs(20), "the first failed trial");

    let rig = closed_at_the_third_level().await;
    advance(secs(40)).await;
    rig.throttle(secs(15));
    rig.await_half_open().await;
    rig.succeed();
    rig.trip();
    assert_eq!(rig.wait(), secs(10));
}

/// Rule 6: a window extended by marks takes longer to recover from.
#[tokio::test(start_paused = true)]
async fn rule_6_lengthened_window_counts_at_its_full_length() {
    let rig = closed_at_the_third_level().await;
    rig.trip();
    advance(secs(30)).await;
    rig.mark_unhealthy("still down");
    rig.await_half_open().await;
    rig.succeed();
    advance(just_under(secs(70))).await;
    rig.trip();
    assert_eq!(rig.wait(), secs(40));
    rig.await_half_open().await;
    rig.succeed();
    advance(secs(40)).await;
    rig.trip();
    assert_eq!(rig.wait(), secs(10));
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn rule_6_endless_outage_does_not_overflow_the_level() {
    let policy = doubling().backoff(Backoff::exponential(MOMENT, secs(60)).factor(1e300));
    let rig = Rig::half_open(policy).await;
    for _ in 0..3_000 {
        rig.fail();
        assert_eq!(rig.wait(), secs(60));
        rig.await_half_open().await;
    }
}

// Rule 7: views agree.

/// Rule 7; scenario 19.
#[tokio::test(start_paused = true)]
async fn rule_7_window_that_has_run_out_reads_half_open_to_whoever_looks_first() {
    let looks: [fn(&Rig); 6] = [
        |rig| assert!(rig.provider.is_healthy()),
        |rig| assert!(rig.cache.is_healthy(Rig::ID)),
        |rig| assert_eq!(rig.provider.health().state, State::HalfOpen),
        |rig| {
            let row = rig.cache.snapshot().get(Rig::ID).cloned().unwrap();
            assert_eq!((row.state, row.retry_in), (State::HalfOpen, None));
        },
        |rig| {
            let row = rig.cache.snapshot_of([Rig::ID]).get(Rig::ID).cloned();
            assert_eq!(row.unwrap().state, State::HalfOpen);
        },
        |rig| rig.provider.admit().unwrap().neutral(),
    ];
    for look in looks {
        let rig = Rig::open(Policy::new());
        let tripped = Instant::now();
        advance(secs(61)).await;
        look(&rig);
        assert_eq!(rig.state(), State::HalfOpen);
        assert_eq!(rig.health().since, Some(tripped + secs(60)));
    }
}

/// Rule 7: a refusal too shows the current state, however early it was decided.
#[tokio::test(start_paused = true)]
async fn rule_7_refusal_says_what_is_seen_now() {
    let rig = Rig::open(by_probe_only(1));
    let mut transitions = rig.cache.subscribe();
    advance(secs(60)).await;
    assert_eq!(rig.admit().unwrap_err().state(), State::HalfOpen);
    assert_eq!(received(&mut transitions).len(), 1, "a call has seen it");

    let rig = Rig::open(Policy::new());
    rig.force(Override::Open, secs(10), "maintenance");
    advance(secs(10)).await;
    assert_eq!(rig.admit().unwrap_err().cause(), Some(Cause::Failures));
}

/// Rule 7: at each deadline, and one nanosecond before it.
#[tokio::test(start_paused = true)]
async fn rule_7_views_agree_on_both_sides_of_every_deadline() {
    let rig = Rig::open(Policy::new().trials(Trials::new(2)));
    let deadline = async || {
        let wait = rig.wait();
        advance(just_under(wait)).await;
        assert_eq!(rig.wait(), MOMENT);
        advance(MOMENT).await;
        assert_eq!(rig.wait(), Duration::ZERO);
    };
    deadline().await;
    let _first = rig.trial();
    advance(secs(3)).await;
    drop(rig.trial());
    deadline().await;
    let _second = rig.trial();
    deadline().await;
    rig.force(Override::Open, secs(9), "maintenance");
    deadline().await;
    rig.throttle(secs(11));
    deadline().await;
    rig.mark_unhealthy("down");
    deadline().await;
}

// Rule 9: time is monotonic, and the runtime's clock is the only one.

/// Rule 9; scenario 17: only `advance` moves a breaker in paused time.
#[tokio::test(start_paused = true)]
async fn rule_9_no_other_clock_ends_a_window() {
    let rig = Rig::open(Policy::new().backoff(Backoff::constant(MOMENT)));
    for _ in 0..1_000 {
        assert_eq!(rig.wait(), MOMENT);
    }
    advance(MOMENT).await;
    assert_eq!(rig.state(), State::HalfOpen);
}

/// Rule 9; scenario 22: jumps of years.
#[tokio::test(start_paused = true)]
async fn rule_9_years_at_once_end_whatever_was_waited_for() {
    let years = secs(29 * 365 * 24 * 3_600);
    let policy = Policy::new().trip(Trip::consecutive(2).or_failure_rate(0.5, secs(30)));
    let rig = Rig::new(policy);
    rig.fail();
    advance(years).await;
    assert_eq!(rig.health().consecutive_failures, 0);
    rig.trip();
    advance(years).await;
    assert_eq!(rig.state(), State::HalfOpen);
    mem::forget(rig.trial());
    advance(years).await;
    rig.succeed();
    rig.force(Override::Open, secs(1), "maintenance");
    advance(years).await;
    assert_eq!(rig.state(), State::Closed);
    rig.trip();
    assert_eq!(rig.wait(), secs(60));
}

/// Rule 9; scenario 22: the longest durations that a setting can hold.
#[tokio::test(start_paused = true)]
async fn rule_9_longest_durations_do_not_overflow() {
    let longest = Duration::MAX;
    let trip = Trip::consecutive(2)
        .or_failure_rate(1.0, longest)
        .within(longest)
        .slow_call(longest)
        .cancelled_after(longest);
    let policy = Policy::new()
        .trip(trip)
        .backoff(Backoff::exponential(secs(1), longest).max_hold(longest))
        .trials(Trials::new(u32::MAX).lease(longest).pause(longest))
        .throttle(
            tower_health::Throttle::default()
                .default_wait(longest)
                .max_wait(longest)
                .jitter(1.0),
        );
    let rig = Rig::half_open(policy.clone()).await;
    drop(rig.trial());
    rig.fail();
    rig.mark_unhealthy("still down");
    rig.await_half_open().await;
    rig.throttle(longest);
    assert!(rig.wait() > secs(3_600));
    rig.force(Override::Closed, longest, "trust me");
    assert!(rig.is_healthy());
    rig.unforce();

    let rig = Rig::open(policy.backoff(Backoff::constant(longest).jitter(Jitter::Full)));
    advance(secs(30 * 365 * 24 * 3_600)).await;
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}

// Rule 10: texts are bounded.

/// Rule 10; scenario 23.
#[tokio::test(start_paused = true)]
async fn rule_10_texts_are_kept_to_256_bytes_at_a_character_boundary() {
    let rig = Rig::new(Policy::new());
    let mut transitions = rig.cache.subscribe();
    rig.mark_unhealthy("x".repeat(1_000_000));
    assert_eq!(rig.health().last_error.unwrap(), *"x".repeat(256));

    rig.call().failure("é".repeat(200));
    let kept = "é".repeat(128);
    assert_eq!(rig.health().last_error.unwrap(), *kept);
    assert_eq!(*rig.admit().unwrap_err().last_error().unwrap(), *kept);
    assert_eq!(transitions.recv().await.unwrap().reason.unwrap(), *kept);

    rig.mark_unhealthy(format!("x{}", "🦀".repeat(200)));
    assert_eq!(
        rig.health().last_error.unwrap(),
        *format!("x{}", "🦀".repeat(63))
    );

    rig.force(Override::Closed, secs(1), "ß".repeat(1_000));
    let reason = transitions.recv().await.unwrap().reason.unwrap();
    assert_eq!(reason, *"ß".repeat(128));
}

/// Rule 10.
#[test]
fn rule_10_text_of_exactly_256_bytes_is_whole() {
    for text in ["x".repeat(256), "é".repeat(128), String::new()] {
        assert_eq!(Reason::from(text.clone()), *text);
        assert_eq!(Reason::display(&text), *text);
    }
    let long: &'static str = "x".repeat(257).leak();
    assert_eq!(Reason::from(long), long[..256]);
    assert_eq!(Reason::display(long), long[..256]);
}

// Rule 11: cancellation is a policy.

/// Rule 11; scenario 45.
#[tokio::test(start_paused = true)]
async fn rule_11_dropped_call_is_neutral_by_default() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(1)));
    for _ in 0..3 {
        let call = rig.call();
        advance(secs(3_600)).await;
        drop(call);
    }
    let health = rig.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.last_error, None);
}

/// Rule 11.
#[tokio::test(start_paused = true)]
async fn rule_11_call_dropped_after_its_time_is_a_failure() {
    let policy = Policy::new().trip(Trip::consecutive(2).cancelled_after(secs(5)));
    let rig = Rig::new(policy);
    for (ran, failures) in [
        (Duration::ZERO, 0),
        (just_under(secs(5)), 0),
        (secs(5), 1),
        (secs(1), 1),
        (secs(9), 2),
    ] {
        let call = rig.call();
        advance(ran).await;
        drop(call);
        assert_eq!(rig.health().consecutive_failures, failures);
    }
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.health().last_error.unwrap(), "cancelled");
}

/// Rule 11.
#[tokio::test(start_paused = true)]
async fn rule_11_trial_dropped_after_its_time_opens_again() {
    let policy = doubling().trip(Trip::consecutive(2).cancelled_after(secs(5)));
    let rig = Rig::half_open(policy).await;
    let early = rig.trial();
    advance(just_under(secs(5))).await;
    drop(early);
    assert_eq!(rig.wait(), secs(1), "the pause");
    advance(secs(1)).await;
    let late = rig.trial();
    advance(secs(5)).await;
    drop(late);
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.wait(), secs(20));
}

/// Rule 11.
#[tokio::test(start_paused = true)]
async fn rule_11_trial_dropped_after_its_lease_opens_again() {
    let policy = doubling().trip(Trip::consecutive(2).cancelled_after(secs(5)));
    let rig = Rig::half_open(policy).await;
    let hung = rig.trial();
    advance(secs(60)).await;
    let _next = rig.trial();
    drop(hung);
    assert_eq!(rig.state(), State::Open);
}

/// Rule 11.
#[tokio::test(start_paused = true)]
async fn rule_11_neutral_call_is_no_cancellation_however_long_it_ran() {
    let policy = Policy::new().trip(Trip::consecutive(1).cancelled_after(Duration::ZERO));
    let rig = Rig::new(policy);
    let call = rig.call();
    advance(secs(3_600)).await;
    call.neutral();
    assert_eq!(rig.state(), State::Closed);
    drop(rig.call());
    assert_eq!(rig.state(), State::Open);
}

// Rule 12: shared by construction.

/// Rule 12; scenario 15.
#[tokio::test(start_paused = true)]
async fn rule_12_every_layer_service_and_handle_of_one_id_shares_one_breaker() {
    let cache = HealthCache::new(Policy::new().trip(Trip::consecutive(6)));
    let broken = || service_fn(async |()| Err::<Infallible, _>(std::io::Error::other("down")));
    let layer = HealthLayer::new(cache.provider("a"));
    let another = HealthLayer::new(cache.clone().provider(String::from("a")));

    let service = layer.layer(broken());
    let mut boxed = tower::util::BoxCloneService::new(layer.layer(broken()));
    service.clone().oneshot(()).await.unwrap_err();
    service.oneshot(()).await.unwrap_err();
    boxed.clone().oneshot(()).await.unwrap_err();
    boxed.ready().await.unwrap().call(()).await.unwrap_err();
    another.layer(broken()).oneshot(()).await.unwrap_err();
    assert_eq!(cache.get("a").unwrap().health().consecutive_failures, 5);

    layer.clone().layer(broken()).oneshot(()).await.unwrap_err();
    for provider in [cache.provider("a"), cache.get("a").unwrap().clone()] {
        assert_eq!(provider.health().state, State::Open);
    }
    assert!(cache.provider("b").is_healthy());
}

// Rule 13: by probe only.

fn by_probe_only(trials: u32) -> Policy {
    Policy::new().trials(Trials::new(trials).by_probe_only(true))
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn rule_13_no_live_call_is_a_trial_before_max_hold() {
    let rig = Rig::open(by_probe_only(1));
    assert_eq!(rig.wait(), secs(600));
    assert!(!rig.grant_trial());
    advance(secs(60)).await;
    let health = rig.health();
    assert_eq!(health.state, State::HalfOpen);
    assert_eq!(health.retry_in, Some(secs(540)));
    advance(just_under(secs(540))).await;
    assert!(!rig.grant_trial());
    assert_eq!(rig.wait(), MOMENT);
    advance(MOMENT).await;
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn rule_13_only_one_live_trial_is_admitted_after_max_hold() {
    let rig = Rig::open(by_probe_only(3));
    advance(secs(600)).await;
    let trial = rig.trial();
    assert_eq!(rig.wait(), secs(60));
    trial.failure("down");
    assert_eq!(rig.wait(), secs(600), "from the failed trial on");
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn rule_13_marks_do_not_prolong_the_prison() {
    let rig = Rig::open(by_probe_only(1));
    for second in 1..=600 {
        advance(secs(1)).await;
        rig.mark_unhealthy("still down");
        assert_eq!(rig.wait(), secs(600 - second));
    }
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn rule_13_longer_wait_than_max_hold_is_waited_for() {
    let rig = Rig::new(without_jitter(by_probe_only(1)));
    rig.throttle(secs(1_000));
    assert_eq!(rig.wait(), secs(1_000));
    advance(secs(1_000)).await;
    assert_eq!(rig.health().cause, Some(Cause::Throttled));
    let _trial = rig.trial();
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn rule_13_force_admits_calls_that_decide_nothing() {
    let rig = Rig::open(by_probe_only(1));
    advance(secs(60)).await;
    rig.force(Override::Closed, secs(5), "trust me");
    let call = rig.call();
    assert!(!call.is_trial());
    call.success();
    rig.unforce();
    assert_eq!(rig.state(), State::HalfOpen);
}
