//! Announced transitions, and waiting callers.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

use tower_health::{HealthLayer, Override, Provider, State};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    explorer::{ends, ends_within, race, race_of_three},
    scene::{SECOND, Scene, Stuck, trips_at},
};

#[test]
fn transitions_of_two_threads_are_sent_in_order_and_each_once() {
    let stories = ends(|| {
        let mut scene = Scene::open(trips_at(1));
        race(
            &scene,
            |provider| {
                provider.mark_healthy();
                provider.mark_unhealthy("down");
            },
            |provider| provider.force(Override::Closed, SECOND, "trust me"),
        );
        scene.announced()
    });
    assert_eq!(
        stories,
        HashSet::from([
            vec![State::Closed],
            vec![State::Closed, State::Open, State::Closed],
        ])
    );
}

#[test]
fn transitions_of_three_threads_are_sent_in_order_and_each_once() {
    let stories = ends_within(2, || {
        let mut scene = Scene::closed(trips_at(1));
        race_of_three(
            &scene,
            |provider| provider.mark_unhealthy("down"),
            Provider::mark_healthy,
            |provider| provider.mark_unhealthy("down again"),
        );
        scene.announced()
    });
    assert_eq!(
        stories,
        HashSet::from([
            vec![State::Open],
            vec![State::Open, State::Closed],
            vec![State::Open, State::Closed, State::Open],
        ])
    );
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn caller_that_waits_for_a_service_is_woken_when_the_breaker_opens() {
    let waited = ends(|| {
        let scene = Scene::closed(trips_at(1));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let ((), (mut service, has_waited)) = race(
            &scene,
            |provider| provider.mark_unhealthy("down"),
            |provider| {
                let mut service = HealthLayer::new(provider.clone()).layer(Stuck);
                let has_waited = service.poll_ready(&mut cx).is_pending();
                (service, has_waited)
            },
        );
        assert!(woken.0.load(SeqCst) || !has_waited);
        assert!(service.poll_ready(&mut cx).is_ready());
        has_waited
    });
    assert_eq!(waited, HashSet::from([true, false]));
}
