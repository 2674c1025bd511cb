//! Calls without an answer: released when the breaker opens, or judged when their limit has passed.

use std::{
    collections::HashSet,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake},
};

use tower_health::{Permit, Provider, State, Trials, Trip, error::CircuitOpen};

use crate::{
    explorer::{advance, ends, ends_within, race},
    scene::{SECOND, Scene, trips_at, with_trials},
};

/// A call that is released or goes on for ever.
struct Hanging {
    future: Pin<Box<dyn Future<Output = CircuitOpen>>>,
    is_woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Hanging {
    fn new(mut permit: Permit) -> Self {
        let call = async move {
            let released = permit.run(pending::<()>()).await;
            released.expect_err("it never ends otherwise")
        };
        Self {
            future: Box::pin(call),
            is_woken: Arc::default(),
        }
    }

    fn is_released(&mut self) -> bool {
        let waker = Arc::clone(&self.is_woken).into();
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(released) => released.is_released(),
            Poll::Pending => false,
        }
    }
}

#[test]
fn call_that_begins_to_wait_while_the_breaker_opens_is_released() {
    let meetings = ends(|| {
        let mut scene = Scene::closed(trips_at(1).release_on_open(true));
        let (mut waiting, failing) = (Hanging::new(scene.call()), scene.call());
        let ((), was_released) = race(
            &scene,
            move |_| failing.failure("down"),
            |_| waiting.is_released(),
        );
        if !was_released {
            assert!(waiting.is_woken.0.load(SeqCst));
            assert!(waiting.is_released());
        }
        assert_eq!(scene.announced(), [State::Open]);
        was_released
    });
    assert_eq!(meetings, HashSet::from([true, false]));
}

#[test]
fn call_that_is_admitted_while_the_breaker_opens_is_refused_or_released() {
    let meetings = ends(|| {
        let mut scene = Scene::closed(trips_at(1).release_on_open(true));
        let failing = scene.call();
        let ((), admitted) = race(&scene, move |_| failing.failure("down"), Provider::admit);
        assert_eq!(scene.announced(), [State::Open]);
        let is_admitted = admitted.is_ok();
        if let Ok(permit) = admitted {
            assert!(Hanging::new(permit).is_released());
        }
        is_admitted
    });
    assert_eq!(meetings, HashSet::from([true, false]));
}

#[test]
fn call_that_begins_after_the_opening_is_not_released_by_it() {
    let states = ends(|| {
        let scene = Scene::closed(trips_at(1).release_on_open(true));
        let failing = scene.call();
        let ((), next) = race(
            &scene,
            move |_| failing.failure("down"),
            |provider| {
                provider.mark_healthy();
                let mut next = Hanging::new(provider.admit().ok()?);
                Some((next.is_released(), next))
            },
        );
        let state = scene.health().state;
        if let Some((was_released, mut next)) = next {
            let is_released = was_released || next.is_released();
            assert_eq!(is_released, state == State::Open);
        }
        state
    });
    assert_eq!(states, HashSet::from([State::Open, State::Closed]));
}

#[test]
fn answer_that_begins_too_late_is_a_failure_before_or_after_the_success_of_another() {
    let streaks = ends(|| {
        let scene = Scene::closed(trips_at(2).trip(Trip::consecutive(2).slow_call(SECOND)));
        let mut late = scene.call();
        advance(SECOND);
        let quick = scene.call();
        race(
            &scene,
            move |_| {
                late.release_slot();
                late.success();
            },
            move |_| quick.success(),
        );
        scene.health().consecutive_failures
    });
    assert_eq!(streaks, HashSet::from([0, 1]));
}

/// A slow start after its first success, with two calls in flight.
fn slow_start() -> (Scene, Permit, Permit) {
    let trials = with_trials(Trials::new(1).slow_start()).trip(Trip::consecutive(2));
    let mut scene = Scene::half_open(trials);
    scene.trial().success();
    let (one, other) = (scene.call(), scene.call());
    (scene, one, other)
}

#[test]
fn slow_start_adds_a_slot_for_a_success_and_none_for_a_failure() {
    let ends = ends(|| {
        let (scene, good, bad) = slow_start();
        race(
            &scene,
            move |_| good.success(),
            move |_| bad.failure("down"),
        );
        let admitted: Vec<_> = std::iter::from_fn(|| scene.admit().ok()).take(9).collect();
        let health = scene.health();
        (health.state, admitted.len(), health.consecutive_failures)
    });
    let [success_last, failure_last] = [0, 1].map(|streak| (State::HalfOpen, 3, streak));
    assert_eq!(ends, HashSet::from([success_last, failure_last]));
}

#[test]
fn slow_start_opens_again_at_the_second_failure_unless_a_success_comes_between() {
    let states = ends_within(3, || {
        let (scene, good, bad) = slow_start();
        race(
            &scene,
            move |_| good.success(),
            move |provider| {
                bad.failure("down");
                provider.admit().expect("a slot is free").failure("down");
            },
        );
        scene.health().state
    });
    assert_eq!(states, HashSet::from([State::Open, State::HalfOpen]));
}
