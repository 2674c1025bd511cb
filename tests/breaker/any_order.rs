//! Random sequences of events, and what must be true after each event.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use tokio::time::{Instant, advance};
use tower_health::{
    Backoff, Cause, Jitter, Outcome, Override, Permit, Policy, ProviderHealth, State, Transitions,
    Trials, Trip,
};

use crate::rig::{MOMENT, Rig, assert_same, just_under, received, secs};

const RUNS: u64 = 300;
const STEPS: u64 = 300;
const LEASE: Duration = secs(30);
const MOST: u32 = 3;

/// A generator that gives the same rolls in every run of the tests.
struct Dice {
    seed: u64,
    rolls: u64,
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.rolls += 1;
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one((self.seed, self.rolls)) % sides
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        let index = self.roll(all.len() as u64);
        all[usize::try_from(index).unwrap()].clone()
    }

    fn wait(&mut self) -> Duration {
        secs(self.one_of(&[0, 1, 7, 15, 60, 61, 100, 400, 700, 4_000]))
    }

    fn outcome(&mut self) -> Outcome {
        let wait = self.wait();
        self.one_of(&[
            Outcome::Success,
            Outcome::Success,
            Outcome::Neutral,
            Outcome::failure("down"),
            Outcome::failure("down"),
            Outcome::throttled(None, "slow down"),
            Outcome::throttled(Some(wait), "slow down"),
            Outcome::Failure {
                reason: "down".into(),
                retry_after: Some(wait),
            },
        ])
    }

    fn policy(&mut self, at_once: u32) -> Policy {
        let either = Trip::consecutive(5).or_failure_rate(0.5, secs(30));
        let trip = self.one_of(&[
            Trip::default(),
            Trip::consecutive(1).slow_call(secs(10)),
            Trip::consecutive(3).cancelled_after(secs(10)),
            either.min_calls(4),
        ]);
        let growing = Backoff::exponential(secs(1), secs(900));
        let backoff = self.one_of(&[
            Backoff::default(),
            growing.clone().jitter(Jitter::Equal),
            growing.max_hold(secs(30)),
        ]);
        let trials = Trials::new(at_once)
            .to_close(self.one_of(&[1, 2, MOST]))
            .lease(LEASE);
        let trials = self.one_of(&[
            trials.clone(),
            trials.clone().pause(Duration::ZERO),
            trials.by_probe_only(true),
        ]);
        let policy = Policy::new().trip(trip).backoff(backoff).trials(trials);
        self.one_of(&[policy.clone(), policy.clone(), policy.observe_only(true)])
    }
}

struct Call {
    permit: Permit,
    given: Instant,
    /// The number of transitions seen before the call.
    turn: usize,
    holds_slot: bool,
    /// Whether its outcome counts: an override did not let it past a breaker that would have refused it.
    is_heard: bool,
}

fn assert_same_but_for_the_wait(before: &ProviderHealth, after: &ProviderHealth) {
    let mut after = after.clone();
    (after.healthy, after.retry_in) = (before.healthy, before.retry_in);
    after.not_before = before.not_before;
    assert_same(before, &after);
}

/// A run of random events on one provider.
struct Run {
    dice: Dice,
    rig: Rig,
    at_once: u32,
    calls: VecDeque<Call>,
    transitions: Transitions,
    turn: usize,
    state: State,
    since: Instant,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice { seed, rolls: 0 };
        let at_once = dice.one_of(&[1, 2, MOST]);
        let rig = Rig::new(dice.policy(at_once));
        Self {
            at_once,
            calls: VecDeque::new(),
            transitions: rig.cache.subscribe(),
            turn: 0,
            state: State::Closed,
            since: Instant::now(),
            dice,
            rig,
        }
    }

    /// Does one random thing that calls, time or the application may do.
    async fn step(&mut self) {
        match self.dice.roll(50) {
            0..15 => self.begin_a_call(),
            15..27 => self.end_a_call(),
            27..30 => self.release_a_slot(),
            30..36 => advance(self.dice.wait()).await,
            36..42 => self.wait_out().await,
            42..45 => self.rig.mark_unhealthy("marked"),
            45..49 => drop(self.rig.grant_trial()),
            _ => self.rig.mark_healthy(),
        }
        self.look();
    }

    /// Does one random thing that an operator may do.
    fn meddle(&mut self) {
        let ttl = self.dice.wait();
        match self.dice.roll(4) {
            0 => self.rig.force(Override::Open, ttl, "maintenance"),
            1 => self.rig.force(Override::Closed, ttl, "trust me"),
            2 => self.rig.unforce(),
            _ => {
                self.at_once = self.dice.one_of(&[1, 2, MOST]);
                self.rig.set_policy(self.dice.policy(self.at_once));
            }
        }
        self.look();
    }

    fn begin_a_call(&mut self) {
        let before = self.look();
        if let Ok(permit) = self.rig.admit() {
            self.calls.push_back(Call {
                given: Instant::now(),
                turn: self.turn,
                holds_slot: permit.is_trial(),
                is_heard: permit.is_trial() || before.state == State::Closed,
                permit,
            });
        }
    }

    fn take_a_call(&mut self) -> Option<Call> {
        let index = self.dice.roll(self.calls.len().max(1) as u64);
        self.calls.swap_remove_back(usize::try_from(index).unwrap())
    }

    fn end_a_call(&mut self) {
        if let Some(call) = self.take_a_call() {
            match self.dice.roll(4) {
                0 => drop(call.permit),
                _ => call.permit.record(self.dice.outcome()),
            }
        }
    }

    fn release_a_slot(&mut self) {
        if let Some(mut call) = self.take_a_call() {
            call.permit.release_slot();
            call.holds_slot = false;
            self.calls.push_back(call);
        }
    }

    /// Rule 3: a call is admitted exactly when the refusal says, not before.
    async fn wait_out(&mut self) {
        if let Some(wait) = self.look().retry_in {
            advance(just_under(wait)).await;
            assert_eq!(self.look().retry_in, Some(MOMENT));
            advance(MOMENT).await;
            assert_eq!(self.look().retry_in, None);
        }
    }

    /// Rules 7 and 8: the views agree with each other and with the announced transitions. No call is admitted before the
    /// time that the provider asked for.
    fn look(&mut self) -> ProviderHealth {
        let health = self.rig.health();
        let is_forced = health.cause == Some(Cause::Forced);
        if health.state == State::Open && !health.healthy && !is_forced {
            assert!(health.not_before <= health.retry_in);
        }
        for transition in received(&mut self.transitions) {
            assert_eq!(transition.from, self.state);
            assert_ne!(transition.to, self.state);
            assert!(self.since <= transition.at && transition.at <= Instant::now());
            self.state = transition.to;
            self.since = transition.at;
            self.turn += 1;
        }
        assert_eq!(health.state, self.state);
        health
    }

    /// Rule 1: a late call has no effect, except that a throttle may move the deadline further away. Rule 4: a trial that
    /// ends makes room for the next.
    fn end_every_late_call(&mut self) {
        let (mut late, in_time) = self
            .calls
            .drain(..)
            .partition::<VecDeque<_>, _>(|call| call.turn != self.turn || !call.is_heard);
        self.calls = in_time;
        while let Some(call) = late.pop_front() {
            let before = self.look();
            let outcome = self.dice.outcome();
            let is_throttle = matches!(outcome, Outcome::Throttled { .. });
            call.permit.record(outcome);
            let after = self.look();
            let is_put_off = is_throttle && before.state == State::Open;
            assert!(is_put_off || after.retry_in <= before.retry_in);
            assert!(call.holds_slot || after.retry_in >= before.retry_in);
            assert_same_but_for_the_wait(&before, &after);
        }
    }

    /// Rule 4: counts the permits that hold a slot.
    fn assert_no_stampede(&self) {
        let holds_slot = |call: &&Call| call.holds_slot && call.given.elapsed() < LEASE;
        assert!(self.calls.iter().filter(holds_slot).count() <= self.at_once as usize);
    }

    /// Rule 3: without further events, the breaker admits the trials that close it.
    async fn recover(mut self) {
        self.rig.unforce();
        advance(secs(10_000)).await;
        for _ in 0..MOST {
            if self.look().state != State::Closed {
                self.rig.trial().success();
            }
        }
        assert_eq!(self.look().state, State::Closed);
        assert_eq!(self.transitions.missed(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn rules_hold_after_any_sequence_of_events() {
    for seed in 0..RUNS {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            run.step().await;
            run.assert_no_stampede();
            if step % 10 == 0 {
                run.end_every_late_call();
            }
        }
        run.recover().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rules_hold_after_any_sequence_of_events_with_an_operator_who_meddles() {
    for seed in RUNS..2 * RUNS {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
            if run.dice.roll(5) == 0 {
                run.meddle();
            }
        }
        run.recover().await;
    }
}
