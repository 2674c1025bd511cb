//! Half-open: which calls are admitted, and which outcome decides.

use std::{collections::HashSet, sync::Arc, time::Duration};

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tower_health::{Permit, Provider, State, Trials};

use crate::{
    explorer::{advance, ends, ends_within, race, race_of_three},
    scene::{SECOND, Scene, with_trials},
};

/// Counts trials in flight, from permit to outcome.
#[derive(Clone, Default)]
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(&self, provider: &Provider) -> Option<Permit> {
        let permit = provider.admit().ok()?;
        assert!(permit.is_trial());
        assert_eq!(self.0.fetch_add(1, Relaxed), 0, "one at a time");
        Some(permit)
    }

    fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[test]
fn three_that_ask_at_once_get_one_trial_between_them() {
    let winners = ends_within(2, || {
        let scene = Scene::half_open(with_trials(Trials::new(1)));
        let (one, two, three) =
            race_of_three(&scene, Provider::admit, Provider::admit, Provider::admit);
        let asked = [one, two, three];
        assert_eq!(asked.iter().flatten().count(), 1);
        asked.iter().position(Result::is_ok)
    });
    assert_eq!(winners, HashSet::from([Some(0), Some(1), Some(2)]));
}

#[test]
fn three_that_ask_at_once_get_two_trials_between_them() {
    let losers = ends_within(2, || {
        let scene = Scene::half_open(with_trials(Trials::new(2)));
        let (one, two, three) =
            race_of_three(&scene, Provider::admit, Provider::admit, Provider::admit);
        let asked = [one, two, three];
        assert_eq!(asked.iter().flatten().count(), 2);
        asked.iter().position(Result::is_err)
    });
    assert_eq!(losers, HashSet::from([Some(0), Some(1), Some(2)]));
}

#[test]
fn half_open_begins_once_whichever_thread_sees_it_first() {
    ends_within(2, || {
        let mut scene = Scene::half_open(with_trials(Trials::new(1)));
        race_of_three(
            &scene,
            |provider| assert!(provider.admit().is_ok()),
            |provider| assert_eq!(provider.health().state, State::HalfOpen),
            |provider| {
                let _ = provider.is_healthy();
            },
        );
        assert_eq!(scene.announced(), [State::HalfOpen]);
    });
}

#[test]
fn slot_of_a_dropped_trial_is_free_after_the_pause_despite_calls_meanwhile() {
    ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(1)));
        let trial = scene.trial();
        race(
            &scene,
            move |_| drop(trial),
            |provider| assert!(provider.admit().is_err()),
        );
        assert_eq!(scene.health().retry_in, Some(SECOND));
        advance(SECOND);
        assert!(scene.call().is_trial());
    });
}

#[test]
fn slot_of_a_dropped_trial_is_taken_by_one() {
    let winners = ends_within(2, || {
        let mut scene = Scene::half_open(with_trials(Trials::new(1).pause(Duration::ZERO)));
        let trial = scene.trial();
        let in_flight = InFlight::default();
        in_flight.0.store(1, Relaxed);
        let (ended, one, other) = (in_flight.clone(), in_flight.clone(), in_flight);
        let ((), one, other) = race_of_three(
            &scene,
            move |_| {
                ended.end();
                drop(trial);
            },
            move |provider| one.begin(provider),
            move |provider| other.begin(provider),
        );
        let winners = (one.is_some(), other.is_some());
        drop((one, other));
        assert!(scene.call().is_trial(), "no wedge");
        winners
    });
    assert_eq!(
        winners,
        HashSet::from([(true, false), (false, true), (false, false)])
    );
}

#[test]
fn slot_that_is_released_is_taken_once() {
    let is_taken = ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(1)));
        let mut trial = scene.trial();
        let ((), second) = race(
            &scene,
            move |_| {
                trial.release_slot();
                trial.release_slot();
                drop(trial);
            },
            |provider| provider.admit().ok(),
        );
        assert_eq!(scene.admit().is_err(), second.is_some());
        second.is_some()
    });
    assert_eq!(is_taken, HashSet::from([true, false]));
}

#[test]
fn trial_that_succeeds_is_not_undone_by_a_failure_from_before() {
    ends(|| {
        let mut scene = Scene::closed(with_trials(Trials::new(1)));
        let stranger = scene.call();
        scene.mark_unhealthy("down");
        advance(scene.health().retry_in.unwrap());
        let trial = scene.call();
        race(
            &scene,
            move |_| trial.success(),
            move |_| stranger.failure("late"),
        );
        assert_eq!(
            scene.announced(),
            [State::Open, State::HalfOpen, State::Closed]
        );
        assert_eq!(scene.health().consecutive_failures, 0);
        assert_ne!(scene.health().last_error.as_deref(), Some("late"));
    });
}

#[test]
fn success_from_before_closes_nothing() {
    ends(|| {
        let mut scene = Scene::closed(with_trials(Trials::new(1)));
        let stranger = scene.call();
        scene.mark_unhealthy("down");
        advance(scene.health().retry_in.unwrap());
        let ((), trial) = race(
            &scene,
            move |_| stranger.success(),
            |provider| provider.admit().ok(),
        );
        assert!(trial.is_some());
        assert!(scene.admit().is_err());
        assert_eq!(scene.announced(), [State::Open, State::HalfOpen]);
    });
}

#[test]
fn of_two_trials_that_disagree_the_first_decides() {
    let stories = ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(2)));
        let (one, other) = (scene.trial(), scene.call());
        race(
            &scene,
            move |_| one.success(),
            move |_| other.failure("down"),
        );
        scene.announced()
    });
    assert_eq!(
        stories,
        HashSet::from([vec![State::Closed], vec![State::Open]])
    );
}

#[test]
fn two_successes_that_it_takes_are_both_counted() {
    ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(2).to_close(2)));
        let (one, other) = (scene.trial(), scene.call());
        race(&scene, move |_| one.success(), move |_| other.success());
        assert_eq!(scene.announced(), [State::Closed]);
    });
}

#[test]
fn trial_whose_lease_has_run_out_takes_no_slot_from_the_next_when_it_is_dropped() {
    ends(|| {
        let lease = 2 * SECOND;
        let trials = Trials::new(1).lease(lease).pause(Duration::ZERO);
        let mut scene = Scene::half_open(with_trials(trials));
        let forgotten = scene.trial();
        advance(lease);
        let ((), next) = race(
            &scene,
            move |_| drop(forgotten),
            tower_health::Provider::admit,
        );
        assert!(next.expect("no wedge").is_trial());
        // The trial above was dropped, and there is no pause.
        assert!(scene.call().is_trial());
    });
}

#[test]
fn lease_that_runs_out_while_its_trial_is_dropped_makes_room_for_one() {
    ends(|| {
        let lease = 2 * SECOND;
        let trials = Trials::new(1).lease(lease).pause(Duration::ZERO);
        let mut scene = Scene::half_open(with_trials(trials));
        let forgotten = scene.trial();
        let ((), next) = race(
            &scene,
            move |_| drop(forgotten),
            |provider| {
                let _ = provider.health();
                advance(lease);
                provider.admit()
            },
        );
        let next = next.expect("no wedge");
        assert!(next.is_trial());
        assert!(scene.admit().is_err(), "never two");
        drop(next);
        assert!(scene.call().is_trial());
    });
}

#[test]
fn verdict_that_comes_as_its_lease_runs_out_counts_and_the_next_call_is_admitted() {
    let was_trial = ends(|| {
        let lease = 2 * SECOND;
        let mut scene = Scene::half_open(with_trials(Trials::new(1).lease(lease)));
        let trial = scene.trial();
        let ((), next) = race(
            &scene,
            move |_| trial.success(),
            |provider| {
                let _ = provider.health();
                advance(lease);
                provider.admit()
            },
        );
        let next = next.expect("no wedge");
        assert_eq!(scene.announced(), [State::Closed]);
        // If the call was a trial, it was admitted before the breaker closed, so its failure is late.
        let was_trial = next.is_trial();
        next.failure("down");
        let state = if was_trial {
            State::Closed
        } else {
            State::Open
        };
        assert_eq!(scene.health().state, state);
        was_trial
    });
    assert_eq!(was_trial, HashSet::from([true, false]));
}

#[test]
fn one_trial_is_granted_to_two_that_ask_for_it() {
    let grants = ends(|| {
        let mut scene = Scene::open(with_trials(Trials::new(2)));
        let grants = race(&scene, Provider::grant_trial, Provider::grant_trial);
        assert_eq!(scene.announced(), [State::HalfOpen]);
        let trial = scene.call();
        assert!(trial.is_trial());
        assert!(scene.admit().is_err());
        grants
    });
    assert_eq!(grants, HashSet::from([(true, false), (false, true)]));
}

#[test]
fn trial_and_a_mark_that_disagree_come_one_after_the_other() {
    let stories = ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(1)));
        let trial = scene.trial();
        race(
            &scene,
            move |_| trial.success(),
            |provider| provider.mark_unhealthy("down"),
        );
        scene.announced()
    });
    assert_eq!(
        stories,
        HashSet::from([vec![State::Open], vec![State::Closed, State::Open]])
    );
}
