//! Overrides of an operator while calls end.

use std::{collections::HashSet, time::Duration};

use tower_health::{Cause, Override, Provider, State};

use crate::{
    explorer::{advance, ends, ends_within, race, race_of_three},
    scene::{SECOND, Scene, trips_at},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn force_open(provider: &Provider) {
    provider.force(Override::Open, HOUR, "maintenance");
}

fn force_closed(provider: &Provider) {
    provider.force(Override::Closed, HOUR, "trust me");
}

#[test]
fn failure_counts_beneath_an_override_that_begins_meanwhile() {
    for force in [force_open, force_closed] {
        ends(move || {
            let mut scene = Scene::closed(trips_at(1));
            let call = scene.call();
            race(&scene, force, move |_| call.failure("down"));
            assert_eq!(scene.health().cause, Some(Cause::Forced));
            scene.announced();
            scene.unforce();
            assert_eq!(scene.health().cause, Some(Cause::Failures));
            scene.announced();
        });
    }
}

#[test]
fn failure_counts_beneath_an_override_that_ends_meanwhile() {
    for (force, over) in [
        (
            force_open as fn(&Provider),
            vec![State::Closed, State::Open],
        ),
        (force_closed, vec![State::Open]),
    ] {
        let stories = ends(move || {
            let mut scene = Scene::closed(trips_at(1));
            let call = scene.call();
            force(&scene);
            scene.announced();
            race(&scene, Provider::unforce, move |_| call.failure("down"));
            assert_eq!(scene.health().cause, Some(Cause::Failures));
            scene.announced()
        });
        // If the call failed first, the breaker is open beneath the override.
        let failed_first = if over.len() == 2 {
            vec![]
        } else {
            over.clone()
        };
        assert_eq!(stories, HashSet::from([over, failed_first]));
    }
}

#[test]
fn override_that_runs_out_ends_once() {
    ends(|| {
        let mut scene = Scene::closed(trips_at(1));
        scene.force(Override::Open, SECOND, "maintenance");
        scene.announced();
        advance(SECOND);
        race(
            &scene,
            |provider| assert!(provider.is_healthy()),
            Provider::unforce,
        );
        assert_eq!(scene.announced(), [State::Closed]);
    });
}

#[test]
fn trial_decides_beneath_an_override_that_begins_meanwhile() {
    let stories = ends(|| {
        let mut scene = Scene::half_open(trips_at(1));
        let trial = scene.trial();
        race(&scene, force_open, move |_| trial.success());
        let story = scene.announced();
        assert!(scene.admit().is_err());
        scene.unforce();
        assert_eq!(scene.announced(), [State::Closed]);
        story
    });
    assert_eq!(
        stories,
        HashSet::from([vec![State::Open], vec![State::Closed, State::Open]])
    );
}

#[test]
fn call_is_admitted_before_an_override_or_refused_for_it() {
    let causes = ends(|| {
        let scene = Scene::closed(trips_at(1));
        let ((), call) = race(&scene, force_open, Provider::admit);
        call.err().map(|refusal| refusal.cause())
    });
    assert_eq!(causes, HashSet::from([None, Some(Some(Cause::Forced))]));
}

#[test]
fn operators_and_a_failure_come_one_after_the_other() {
    ends_within(2, || {
        let mut scene = Scene::closed(trips_at(1));
        let call = scene.call();
        race_of_three(
            &scene,
            force_open,
            move |_| call.failure("down"),
            Provider::unforce,
        );
        scene.unforce();
        scene.announced();
        assert_eq!(scene.health().cause, Some(Cause::Failures));
    });
}
