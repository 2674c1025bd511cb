//! Successes that are counted without the lock.

use std::{collections::HashSet, time::Duration};

use loom::thread;
use tower_health::{Outcome, Policy, Provider, State, Trip};

use crate::{
    explorer::{advance, ends, ends_within, race},
    scene::{SECOND, Scene},
};

/// Ten buckets of one second each.
const WINDOW: Duration = Duration::from_secs(10);

fn trips_at_half() -> Policy {
    Policy::new().trip(Trip::failure_rate(0.5, WINDOW).min_calls(1))
}

/// Returns a breaker with `count` successes, which counts the next one without the lock.
fn with_successes(count: usize) -> Scene {
    let scene = Scene::closed(trips_at_half());
    for _ in 0..count {
        scene.call().success();
    }
    scene
}

/// Returns the number of successes that the breaker has counted: it trips at as many failures.
fn successes(provider: &Provider, mut failures: usize) -> usize {
    while provider.health().state == State::Closed {
        provider.mark_unhealthy("down");
        failures += 1;
    }
    failures
}

#[test]
fn successes_of_two_threads_are_each_counted_once_while_a_failure_settles() {
    for at_one_counter in [false, true] {
        ends_within(3, move || {
            let scene = with_successes(1);
            if at_one_counter {
                // This thread has the first of two counters. Later threads take them in turn, so this one takes the second, and
                // the next one shares the first.
                let call = scene.call();
                thread::spawn(move || call.success())
                    .join()
                    .expect("no panic");
            } else {
                scene.call().success();
            }
            let (one, other, bad) = (scene.call(), scene.call(), scene.call());
            race(
                &scene,
                move |_| one.success(),
                move |_| {
                    other.success();
                    bad.failure("down");
                },
            );
            assert_eq!(successes(&scene, 1), 4);
        });
    }
}

#[test]
fn successes_of_one_thread_are_each_counted_once_while_another_looks() {
    ends(|| {
        let scene = with_successes(1);
        let (one, other) = (scene.call(), scene.call());
        race(
            &scene,
            move |_| {
                one.success();
                other.success();
            },
            |provider| assert_eq!(provider.health().state, State::Closed),
        );
        assert_eq!(successes(&scene, 0), 3);
    });
}

#[test]
fn success_is_counted_once_while_its_bucket_ends() {
    ends_within(4, || {
        let scene = with_successes(1);
        let call = scene.call();
        race(
            &scene,
            move |_| call.success(),
            |provider| {
                assert!(provider.health().healthy);
                advance(SECOND);
                assert!(provider.health().healthy);
            },
        );
        assert_eq!(successes(&scene, 0), 2);
    });
}

#[test]
fn success_from_before_an_outage_is_not_counted_after_it() {
    ends_within(2, || {
        let scene = with_successes(1);
        let (late, bad) = (scene.call(), scene.call());
        race(
            &scene,
            move |_| late.success(),
            move |provider| {
                bad.record(Outcome::fatal("down"));
                provider.mark_healthy();
            },
        );
        scene.call().success();
        assert_eq!(successes(&scene, 0), 1);
    });
}

#[test]
fn success_counts_in_a_window_that_is_replaced_meanwhile_or_not() {
    let counts = ends_within(4, || {
        let scene = with_successes(1);
        let call = scene.call();
        race(
            &scene,
            move |_| call.success(),
            |provider| {
                let trip = Trip::failure_rate(0.5, 2 * WINDOW).min_calls(1);
                provider.set_policy(Policy::new().trip(trip));
            },
        );
        scene.call().success();
        successes(&scene, 0)
    });
    assert_eq!(counts, HashSet::from([1, 2]));
}
