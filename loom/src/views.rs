//! Agreement of all views, in all threads.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use tower_health::{Cause, HealthLayer, Override, Policy, Provider, State, error::CircuitOpen};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    explorer::{advance, ends, ends_within, race},
    scene::{SECOND, Scene, Stuck, trips_at, without_jitter},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Whether a call would be admitted.
type View = fn(&Provider) -> bool;

const VIEWS: [View; 3] = [
    Provider::is_healthy,
    |provider| provider.health().healthy,
    |provider| provider.admit().is_ok(),
];

/// A change of a provider that all views show.
struct Change {
    scene: fn(Policy) -> Scene,
    make: fn(&Provider),
    admits: bool,
}

const CHANGES: [Change; 6] = [
    Change {
        scene: Scene::closed,
        make: |provider| provider.mark_unhealthy("down"),
        admits: false,
    },
    Change {
        scene: Scene::closed,
        make: |provider| provider.force(Override::Open, HOUR, "maintenance"),
        admits: false,
    },
    Change {
        scene: Scene::open,
        make: Provider::mark_healthy,
        admits: true,
    },
    Change {
        scene: Scene::open,
        make: |provider| provider.force(Override::Closed, HOUR, "trust me"),
        admits: true,
    },
    Change {
        scene: Scene::open,
        make: |provider| provider.set_policy(trips_at(1).observe_only(true)),
        admits: true,
    },
    Change {
        scene: |policy| {
            let scene = Scene::closed(policy);
            scene.force(Override::Open, HOUR, "maintenance");
            scene
        },
        make: Provider::unforce,
        admits: true,
    },
];

fn refused(provider: &Provider) -> CircuitOpen {
    provider.admit().expect_err("it is open")
}

/// Checks every change with every pair of views.
fn for_each_change_and_views(check: impl Fn(&'static Change, View, View)) {
    for change in &CHANGES {
        for one in VIEWS {
            for other in VIEWS {
                check(change, one, other);
            }
        }
    }
}

#[test]
fn what_one_view_has_shown_no_view_takes_back() {
    for_each_change_and_views(|change, one, other| {
        let seen = ends(move || {
            let scene = (change.scene)(trips_at(1));
            let ((), seen) = race(&scene, change.make, |provider| {
                [one, other].map(|view| view(provider) == change.admits)
            });
            seen
        });
        let in_order = HashSet::from([[false, false], [false, true], [true, true]]);
        assert_eq!(seen, in_order);
    });
}

#[test]
fn what_was_changed_before_every_view_shows() {
    for change in &CHANGES {
        for view in VIEWS {
            let was_before = ends(move || {
                let scene = (change.scene)(trips_at(1));
                let is_changed = Arc::new(AtomicBool::new(false));
                let told = Arc::clone(&is_changed);
                let ((), was_before) = race(
                    &scene,
                    move |provider| {
                        (change.make)(provider);
                        told.store(true, Release);
                    },
                    |provider| {
                        let was_before = is_changed.load(Acquire);
                        let admits = view(provider);
                        assert!(admits == change.admits || !was_before);
                        was_before
                    },
                );
                was_before
            });
            assert_eq!(was_before, HashSet::from([true, false]));
        }
    }
}

/// One thread reads only the health: if it took the trial, the other would rightly be refused.
#[test]
fn window_that_runs_out_is_seen_by_every_view() {
    for view in VIEWS {
        ends(move || {
            let mut scene = Scene::half_open(trips_at(1));
            race(
                &scene,
                |provider| assert_eq!(provider.health().state, State::HalfOpen),
                |provider| assert!(view(provider)),
            );
            assert_eq!(scene.announced(), [State::HalfOpen]);
        });
    }
}

#[test]
fn refusal_is_of_the_window_that_is_open() {
    let refusals = ends(|| {
        let scene = Scene::closed(trips_at(1));
        scene.call().throttled(Some(HOUR), "slow down");
        scene.mark_healthy();
        let ((), refusal) = race(
            &scene,
            |provider| provider.mark_unhealthy("down"),
            |provider| provider.admit().err(),
        );
        refusal.map(|refusal| (refusal.cause(), refusal.last_error().unwrap().to_string()))
    });
    let of_the_second = (Some(Cause::Failures), "down".to_owned());
    assert_eq!(refusals, HashSet::from([None, Some(of_the_second)]));
}

/// The caller's thread already has a copy of the refusal before.
#[test]
fn refusal_is_no_older_than_the_change_that_its_caller_knows_of() {
    let changes: [fn(&Provider); 2] = [
        |provider| provider.mark_unhealthy("worse"),
        |provider| provider.force(Override::Open, HOUR, "maintenance"),
    ];
    let shown = |refusal: &CircuitOpen| format!("{refusal:?}");
    for change in changes {
        let seen = ends(move || {
            let scene = Scene::open(trips_at(1));
            let before = shown(&refused(&scene));
            let is_changed = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&is_changed);
            let ((), seen) = race(
                &scene,
                move |provider| {
                    change(provider);
                    told.store(true, Release);
                },
                |provider| {
                    let is_known = is_changed.load(Acquire);
                    let is_shown = shown(&refused(provider)) != before;
                    [is_known, is_shown]
                },
            );
            assert_ne!(shown(&refused(&scene)), before);
            seen
        });
        let in_order = HashSet::from([[false, false], [false, true], [true, true]]);
        assert_eq!(seen, in_order);
    }
}

#[test]
fn threads_that_are_refused_at_once_get_the_same_refusal() {
    ends(|| {
        let scene = Scene::open(trips_at(1));
        let (one, other) = race(&scene, refused, refused);
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    });
}

/// The service reads no clock, because `poll_ready` has.
#[test]
fn service_that_is_to_refuse_shows_the_state_that_its_caller_knows_of() {
    let seen = ends(|| {
        let scene = Scene::open(trips_at(1));
        let mut service = HealthLayer::new(Provider::clone(&scene)).layer(Stuck);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let is_closed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_closed);
        let ((), seen) = race(
            &scene,
            move |provider| {
                provider.mark_healthy();
                told.store(true, Release);
            },
            |_| {
                let is_known = is_closed.load(Acquire);
                let Poll::Ready(Err(error)) = pin!(service.call(())).poll(&mut cx) else {
                    unreachable!("not refused");
                };
                let refusal: Box<CircuitOpen> = error.downcast().expect("a refusal");
                [is_known, refusal.state() == State::Closed]
            },
        );
        seen
    });
    let in_order = HashSet::from([[false, false], [false, true], [true, true]]);
    assert_eq!(seen, in_order);
}

#[test]
fn breaker_that_was_seen_healthy_does_not_refuse_for_an_earlier_outage() {
    for view in VIEWS {
        let seen = ends_within(3, move || {
            let scene = Scene::closed(trips_at(1));
            scene.call().throttled(Some(HOUR), "slow down");
            let ((), seen) = race(
                &scene,
                |provider| {
                    provider.mark_healthy();
                    // Opens the breaker, and half-opens it at once.
                    let call = provider.admit().expect("closed");
                    call.throttled(Some(Duration::ZERO), "slow down");
                },
                |provider| [provider.is_healthy(), view(provider)],
            );
            seen
        });
        let in_order = HashSet::from([[false, false], [false, true], [true, true]]);
        assert_eq!(seen, in_order);
    }
}

#[test]
fn refusal_ends_with_the_window_whichever_thread_advances_the_clock() {
    let admitted = ends(|| {
        let scene = Scene::closed(without_jitter(trips_at(1)));
        scene.call().throttled(Some(SECOND), "slow down");
        let ((), trial) = race(
            &scene,
            |provider| {
                assert!(!provider.health().healthy);
                advance(SECOND);
                assert_eq!(provider.health().state, State::HalfOpen);
            },
            |provider| provider.admit().ok(),
        );
        let is_admitted = trial.is_some();
        assert_eq!(scene.is_healthy(), !is_admitted);
        is_admitted
    });
    assert_eq!(admitted, HashSet::from([true, false]));
}

#[test]
fn snapshot_shows_what_its_provider_shows() {
    ends(|| {
        let scene = Scene::closed(trips_at(1));
        let cache = scene.cache.clone();
        let ((), row) = race(
            &scene,
            |provider| provider.mark_unhealthy("down"),
            move |_| cache.snapshot().get("a").cloned(),
        );
        let row = row.expect("a row");
        assert_eq!(row.healthy, row.retry_in.is_none());
        assert_eq!(row.healthy, row.state == State::Closed);
        assert_eq!(row.healthy, row.last_error.is_none());
    });
}
