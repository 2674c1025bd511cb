//! Closed: failures that open the breaker.

use std::{collections::HashSet, sync::Arc};

use loom::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use tower_health::{Policy, State, Trip};

use crate::{
    explorer::{advance, ends, ends_within, race, race_of_three},
    scene::{SECOND, Scene, trips_at, without_jitter},
};

#[test]
fn two_failures_at_once_are_both_counted_and_trip_once() {
    ends(|| {
        let mut scene = Scene::closed(trips_at(2));
        let (one, other) = (scene.call(), scene.call());
        race(
            &scene,
            move |_| one.failure("down"),
            move |_| other.failure("down"),
        );
        assert_eq!(scene.announced(), [State::Open]);
        assert_eq!(scene.health().consecutive_failures, 2);
    });
}

#[test]
fn of_three_failures_at_once_the_second_trips_and_the_third_is_late() {
    ends_within(2, || {
        let mut scene = Scene::closed(trips_at(2));
        let (one, two, three) = (scene.call(), scene.call(), scene.call());
        race_of_three(
            &scene,
            move |_| one.failure("down"),
            move |_| two.failure("down"),
            move |_| three.failure("down"),
        );
        assert_eq!(scene.announced(), [State::Open]);
        assert_eq!(scene.health().consecutive_failures, 2);
    });
}

#[test]
fn call_that_meets_the_trip_is_refused_or_its_failure_is_late() {
    let admitted = ends(|| {
        let mut scene = Scene::closed(trips_at(1));
        let call = scene.call();
        let ((), next) = race(
            &scene,
            move |_| call.failure("down"),
            tower_health::Provider::admit,
        );
        let is_admitted = next.is_ok();
        if let Ok(next) = next {
            assert!(!next.is_trial());
            next.failure("late");
        }
        assert_eq!(scene.announced(), [State::Open]);
        assert_eq!(scene.health().last_error.as_deref(), Some("down"));
        is_admitted
    });
    assert_eq!(admitted, HashSet::from([true, false]));
}

#[test]
fn success_ends_a_streak_or_comes_before_it_or_after_the_trip() {
    let streaks = ends(|| {
        let scene = Scene::closed(trips_at(2));
        scene.call().success();
        let (one, two, good) = (scene.call(), scene.call(), scene.call());
        race(
            &scene,
            move |_| {
                one.failure("down");
                two.failure("down");
            },
            // Its success would change nothing without the failures.
            move |_| good.success(),
        );
        let health = scene.health();
        (health.state, health.consecutive_failures)
    });
    assert_eq!(
        streaks,
        HashSet::from([(State::Closed, 1), (State::Open, 2)])
    );
}

#[test]
fn success_that_knows_of_a_failure_ends_its_streak() {
    let is_known = ends(|| {
        let scene = Scene::closed(trips_at(2));
        scene.call().success();
        let (bad, good) = (scene.call(), scene.call());
        let has_failed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&has_failed);
        let ((), is_known) = race(
            &scene,
            move |_| {
                bad.failure("down");
                told.store(true, Release);
            },
            move |_| {
                let is_known = has_failed.load(Acquire);
                good.success();
                is_known
            },
        );
        let streak = scene.health().consecutive_failures;
        assert!(streak == 0 || !is_known);
        is_known
    });
    assert_eq!(is_known, HashSet::from([true, false]));
}

#[test]
fn throttle_and_a_failure_at_once_open_once_and_the_named_time_holds() {
    ends(|| {
        let mut scene = Scene::closed(without_jitter(trips_at(1)));
        let (one, other) = (scene.call(), scene.call());
        let named = 600 * SECOND;
        race(
            &scene,
            move |_| one.throttled(Some(named), "slow down"),
            move |_| other.failure("down"),
        );
        assert_eq!(scene.announced(), [State::Open]);
        assert_eq!(scene.health().retry_in, Some(named));
    });
}

#[test]
fn call_that_is_cut_off_counts_once_despite_failures_meanwhile() {
    ends(|| {
        let trip = Trip::consecutive(2).cancelled_after(SECOND);
        let mut scene = Scene::closed(Policy::new().trip(trip));
        let (cut_off, failed) = (scene.call(), scene.call());
        advance(SECOND);
        race(
            &scene,
            move |_| drop(cut_off),
            move |_| failed.failure("down"),
        );
        assert_eq!(scene.announced(), [State::Open]);
        assert_eq!(scene.health().consecutive_failures, 2);
    });
}
