//! Many threads on one breaker at once, with proof that they contend.

use std::{
    mem,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tower_health::{Backoff, Cause, Outcome, Override, Policy, Provider, State, Trials, Trip};

use crate::rig::{Race, Rig, received, secs};

const THREADS: usize = 8;
const ROUNDS: usize = 200;
/// Longer than any test runs.
const NEVER: Duration = secs(60 * 60);

fn trips_at_once() -> Policy {
    Policy::new().trip(Trip::consecutive(1))
}

/// A policy whose open windows end before anyone can look, with `trials` concurrent trials.
fn comes_back_at_once(trials: u32) -> Policy {
    trips_at_once()
        .backoff(Backoff::constant(Duration::from_nanos(1)))
        .trials(Trials::new(trials).lease(NEVER).pause(Duration::ZERO))
}

/// Counts the threads that hold a permit at once, and the highest count.
#[derive(Default)]
struct Holders {
    holding: AtomicUsize,
    most: AtomicUsize,
}

impl Holders {
    fn hold(&self) {
        let holding = self.holding.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(holding, SeqCst);
    }

    fn let_go(&self) {
        self.holding.fetch_sub(1, SeqCst);
    }
}

/// Runs at least `ROUNDS` rounds, and more until `is_proven` says that the threads have met.
#[track_caller]
fn until_proven(mut round: impl FnMut(), is_proven: impl Fn() -> bool) {
    let is_over = (0..100 * ROUNDS).any(|number| {
        round();
        number >= ROUNDS && is_proven()
    });
    assert!(is_over, "the threads never met");
}

/// Rule 4, for trials that end without a verdict.
#[test]
fn never_more_trials_in_flight_than_the_policy_allows() {
    for trials in [1, 3] {
        let rig = Rig::open(comes_back_at_once(trials));
        let race = Race::default();
        let holders = Holders::default();
        let refused = AtomicUsize::new(0);
        let call = |number: usize| match rig.admit() {
            Ok(permit) => {
                assert!(permit.is_trial());
                holders.hold();
                thread::yield_now();
                holders.let_go();
                match number % 2 {
                    0 => drop(permit),
                    _ => permit.neutral(),
                }
            }
            Err(refusal) => {
                assert_eq!(refusal.state(), State::HalfOpen);
                refused.fetch_add(1, SeqCst);
            }
        };

        until_proven(
            || {
                race.run(THREADS, call);
                assert_eq!(rig.state(), State::HalfOpen, "no wedge");
            },
            // All slots were taken, and a call was refused.
            || holders.most.load(SeqCst) >= trials as usize && refused.load(SeqCst) > 0,
        );

        assert_eq!(holders.most.load(SeqCst), trials as usize);
        rig.trial().success();
        assert_eq!(rig.state(), State::Closed);
    }
}

/// The streak counts the failures of all threads.
#[test]
fn every_failure_is_counted_and_the_last_one_trips() {
    const FAILURES: u32 = 50;
    let race = Race::default();
    let all = FAILURES * u32::try_from(THREADS).expect("few");

    for _ in race.rounds(ROUNDS) {
        let rig = Rig::new(Policy::new().trip(Trip::consecutive(all)));
        let mut transitions = rig.cache.subscribe();
        // Admitted before any call has failed; otherwise the last of them would be refused.
        let calls: Vec<_> = (0..THREADS)
            .map(|_| Mutex::new((0..FAILURES).map(|_| rig.call()).collect::<Vec<_>>()))
            .collect();
        race.run(THREADS, |number| {
            let calls = mem::take(&mut *calls[number].lock().expect("its own"));
            for call in calls {
                call.failure("down");
            }
        });
        assert_eq!(rig.provider.health().state, State::Open);
        assert_eq!(rig.provider.health().consecutive_failures, all);
        assert_eq!(received(&mut transitions).len(), 1, "opened once");
    }
    race.assert_contended();
}

/// Changes the breaker in one of eight ways, chosen by `number`.
fn meddle(provider: &Provider, number: usize) {
    match number % 8 {
        0 => drop(provider.admit()),
        1 => record(provider, Outcome::Success),
        2 => record(provider, Outcome::failure("down")),
        3 => record(provider, Outcome::throttled(Some(NEVER), "slow down")),
        4 => provider.mark_healthy(),
        5 => provider.set_policy(comes_back_at_once(3)),
        6 => provider.set_policy(trips_at_once()),
        _ => provider.unforce(),
    }
}

fn record(provider: &Provider, outcome: Outcome) {
    if let Ok(permit) = provider.admit() {
        permit.record(outcome);
    }
}

/// Rules 7 and 8, while threads change the breaker in every way at once.
#[test]
fn views_and_listeners_agree_whatever_is_done_at_once() {
    let rig = Rig::new(trips_at_once());
    let race = Race::default();
    let overruled = AtomicUsize::new(0);
    let mut transitions = rig.cache.subscribe();
    let mut state = State::Closed;
    let mut turn = 0;

    until_proven(
        || {
            turn += 1;
            race.run(THREADS, |number| {
                for step in 0..8 {
                    meddle(&rig, number + turn + 3 * step);
                    rig.force(Override::Open, NEVER, "maintenance");
                    let health = rig.provider.health();
                    assert_eq!(health.healthy, health.retry_in.is_none());
                    assert_eq!(health.cause.is_none(), health.state == State::Closed);
                    if health.cause != Some(Cause::Forced) {
                        overruled.fetch_add(1, SeqCst);
                    }
                    rig.unforce();
                }
            });
            for transition in received(&mut transitions) {
                assert_eq!(transition.from, state);
                assert_ne!(transition.to, state);
                state = transition.to;
            }
            assert_eq!(transitions.missed(), 0);
            assert_eq!(rig.provider.health().state, state);
        },
        // One thread undid another's override before that thread looked.
        || overruled.load(SeqCst) > 0,
    );

    race.assert_contended();
    rig.mark_healthy();
    assert_eq!(rig.provider.health().state, State::Closed);
    rig.set_policy(trips_at_once());
    rig.fail();
    assert_eq!(rig.provider.health().state, State::Open);
    assert_eq!(rig.provider.health().cause, Some(Cause::Failures));
}
