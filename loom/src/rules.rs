//! Changes of the policy while calls are in flight.

use std::collections::HashSet;

use tower_health::{Provider, State, Trials, Trip};

use crate::{
    explorer::{ends, ends_within, race, race_of_three},
    scene::{SECOND, Scene, trips_at, with_trials},
};

#[test]
fn failure_is_judged_by_the_rules_before_or_after() {
    let states = ends(|| {
        let scene = Scene::closed(trips_at(2));
        let call = scene.call();
        race(
            &scene,
            |provider| provider.set_policy(trips_at(1)),
            move |_| call.failure("down"),
        );
        assert_eq!(scene.health().consecutive_failures, 1);
        scene.health().state
    });
    assert_eq!(states, HashSet::from([State::Closed, State::Open]));
}

#[test]
fn more_trials_than_the_rules_ever_allowed_are_never_in_flight() {
    let admitted = ends_within(2, || {
        let scene = Scene::half_open(with_trials(Trials::new(2)));
        let (one, (), other) = race_of_three(
            &scene,
            Provider::admit,
            |provider| provider.set_policy(with_trials(Trials::new(1))),
            Provider::admit,
        );
        assert!(scene.admit().is_err());
        [one, other].iter().flatten().count()
    });
    assert_eq!(admitted, HashSet::from([1, 2]));
}

#[test]
fn fewer_trials_that_it_takes_hold_from_the_next_success_on() {
    let states = ends(|| {
        let mut scene = Scene::half_open(with_trials(Trials::new(1).to_close(2)));
        let trial = scene.trial();
        race(
            &scene,
            |provider| provider.set_policy(with_trials(Trials::new(1))),
            move |_| trial.success(),
        );
        let state = scene.health().state;
        if state == State::HalfOpen {
            scene.call().success();
        }
        assert_eq!(scene.announced(), [State::Closed]);
        state
    });
    assert_eq!(states, HashSet::from([State::HalfOpen, State::Closed]));
}

#[test]
fn success_is_fast_enough_for_the_rules_before_or_after() {
    let streaks = ends(|| {
        let scene = Scene::closed(trips_at(2));
        scene.call().success();
        let call = scene.call();
        let patient = Trip::consecutive(2).slow_call(SECOND);
        race(
            &scene,
            move |provider| provider.set_policy(trips_at(2).trip(patient)),
            move |_| call.success(),
        );
        // The call's start was not recorded, so it cannot be slow.
        scene.health().consecutive_failures
    });
    assert_eq!(streaks, HashSet::from([0]));
}
