//! The registry of providers: lookups, which create nothing, and eviction.

use std::fmt::Debug;

use tokio::time::{Instant, advance};
use tower_health::{
    Backoff, HealthCache, HealthLayer, Override, Permit, Policy, Provider, ProviderHealth,
    Snapshot, State, Transition, Transitions, Trip, error::CircuitOpen,
};

use crate::rig::{MOMENT, Race, Rig, assert_same, just_under, secs};

fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.providers.iter().map(|row| &*row.id).collect()
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn unknown_ids_are_healthy_and_asking_creates_nothing() {
    let cache = HealthCache::default();
    for number in 0..10_000 {
        let id = format!("unknown-{number}");
        assert!(cache.is_healthy(&id));
        assert!(cache.get(&id).is_none());
        assert!(cache.snapshot().get(&id).is_none());
        assert!(cache.snapshot_of([id.as_str()]).get(&id).is_some());
        cache.remove(&id);
    }
    assert!(cache.snapshot().providers.is_empty());
}

/// Rule 1: breakers reuse the memory of old ones, whose permits are late for the new ones.
#[tokio::test(start_paused = true)]
async fn permit_of_a_provider_that_is_gone_says_nothing_of_a_new_one() {
    let gone: Vec<_> = (0..100).map(|_| Rig::new(Policy::new())).collect();
    let mut permits = Vec::new();
    for rig in gone {
        permits.extend([rig.admit().unwrap(), rig.admit().unwrap()]);
        rig.trip();
        rig.provider.force(Override::Closed, secs(1), "drill");
        permits.extend([rig.admit().unwrap(), rig.admit().unwrap()]);
    }
    let open: Vec<_> = (0..50).map(|_| Rig::open(Policy::new())).collect();
    let closed: Vec<_> = (0..50).map(|_| Rig::new(Policy::new())).collect();

    let mut permits = permits.into_iter();
    while let (Some(one), Some(other)) = (permits.next(), permits.next()) {
        assert_eq!(one.provider(), None);
        one.failure("late");
        other.throttled(Some(secs(300)), "late");
    }
    for rig in open {
        assert_eq!(rig.health().retry_in, Some(secs(60)));
    }
    for rig in closed {
        assert_eq!(rig.health().consecutive_failures, 0);
        assert_eq!(rig.health().state, State::Closed);
    }
}

// New policies.

#[tokio::test(start_paused = true)]
async fn new_policy_of_the_cache_is_that_of_all_without_their_own() {
    let [old, new, own] = [2, 5, 9].map(|count| Policy::new().trip(Trip::consecutive(count)));
    let cache = HealthCache::new(old.clone());
    let (known, with, set) = (
        cache.provider("known"),
        cache.provider_with("with", own.clone()),
        cache.provider("set"),
    );
    set.set_policy(own.clone());
    assert_eq!(cache.policy(), old);

    cache.set_policy(new.clone());
    assert_eq!(cache.policy(), new);
    assert_eq!(known.policy(), new);
    assert_eq!(cache.provider("later").policy(), new);
    for provider in [with, set] {
        assert_eq!(provider.policy(), own);
    }
    // A policy set on a provider is its own, even when equal to the cache's.
    known.set_policy(new);
    cache.set_policy(old.clone());
    assert_ne!(known.policy(), old);
}

#[tokio::test(start_paused = true)]
async fn new_policy_of_the_cache_keeps_every_state() {
    let rig = Rig::open(Policy::new());
    advance(secs(10)).await;
    let failed_once = rig.cache.provider("b");
    failed_once.mark_unhealthy("down");
    let before = rig.health();

    let shorter = Policy::new()
        .trip(Trip::consecutive(3))
        .backoff(Backoff::constant(secs(5)));
    rig.cache.set_policy(shorter);
    assert_same(&rig.health(), &before);
    failed_once.mark_unhealthy("down");
    assert!(failed_once.is_healthy(), "2 of 3");
    failed_once.mark_unhealthy("down");
    assert_eq!(failed_once.health().retry_in, Some(secs(5)));
}

#[test]
fn provider_that_is_made_while_a_policy_is_set_follows_it() {
    let policy = |count| Policy::new().trip(Trip::consecutive(count));
    for round in 0..200 {
        let cache = HealthCache::new(policy(1));
        std::thread::scope(|scope| {
            for count in [2, 3] {
                let cache = cache.clone();
                scope.spawn(move || cache.set_policy(policy(count)));
            }
            for made in 0..20 {
                let _known = cache.provider(format!("{round}/{made}"));
            }
        });
        for row in cache.snapshot().providers {
            let provider = cache.get(&row.id).unwrap();
            assert_eq!(provider.policy(), cache.policy(), "{}", row.id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn id_is_any_string() {
    let cache = HealthCache::default();
    let huge = "x".repeat(1 << 20);
    let almost_as_huge = &huge[1..];
    let strings = [
        "", " ", "a", "A", "a/b", "a\0b", "é", "e\u{301}", "\n", "🦀",
    ];
    let all = strings.into_iter().chain([huge.as_str(), almost_as_huge]);
    for id in all.clone() {
        assert!(cache.is_healthy(id), "not mistaken for another");
        let provider = cache.provider(id);
        assert_eq!(provider.id(), id);
        provider.mark_unhealthy("down");
        provider.mark_unhealthy("down");
        assert!(!cache.is_healthy(id));
        assert_eq!(provider.admit().unwrap_err().provider(), id);
    }
    let snapshot = cache.snapshot();
    assert_eq!(snapshot.providers.len(), all.clone().count());
    for id in all {
        assert_eq!(snapshot.get(id).unwrap().state, State::Open);
        cache.remove(id);
    }
    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn new_provider_is_closed_and_has_no_history() {
    let health = Rig::new(Policy::new()).health();
    assert_eq!(health.state, State::Closed);
    assert!(health.healthy);
    assert_eq!(health.cause, None);
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!(health.last_error, None);
    assert_eq!(health.last_check, None);
    assert_eq!(health.since, None);
    assert_eq!(health.retry_in, None);
}

#[tokio::test(start_paused = true)]
async fn handles_of_one_id_see_one_breaker_and_other_ids_and_caches_another() {
    let cache = HealthCache::default();
    cache.provider("a").mark_unhealthy("down");
    cache.clone().provider("a").clone().mark_unhealthy("down");
    assert!(!cache.get("a").unwrap().is_healthy());
    assert!(cache.provider("b").is_healthy());
    assert!(HealthCache::default().provider("a").is_healthy());
}

#[test]
fn threads_that_ask_at_once_for_a_new_id_get_one_breaker() {
    let cache = HealthCache::new(Policy::new().trip(Trip::consecutive(9)));
    let race = Race::default();
    for round in race.rounds(20) {
        let id = |number| format!("new-{round}-{number}");
        race.run(8, |_| {
            for number in 0..50 {
                cache.provider(id(number)).mark_unhealthy("down");
            }
        });
        for number in 0..50 {
            let health = cache.provider(id(number)).health();
            assert_eq!(health.consecutive_failures, 8);
        }
    }
    race.assert_contended();
}

#[tokio::test(start_paused = true)]
async fn provider_with_has_rules_of_its_own_and_keeps_what_is_known() {
    let strict = Policy::new().trip(Trip::consecutive(1));
    let cache = HealthCache::default();
    let provider = cache.provider_with("a", strict.clone());
    assert_eq!(provider.policy(), strict);
    assert_eq!(cache.provider("b").policy(), Policy::new());
    provider.mark_unhealthy("down");

    let slow = Policy::new().backoff(Backoff::constant(secs(5)));
    let again = cache.provider_with("a", slow.clone());
    assert_eq!(again.health().retry_in, Some(secs(60)));
    assert_eq!(provider.policy(), slow);
    assert_eq!(cache.provider("a").policy(), slow);
}

#[test]
fn retain_removes_all_others() {
    let cache = HealthCache::default();
    for id in ["a", "a/large", "b"] {
        let _ = cache.provider(id);
    }
    cache.retain(|id| id.starts_with('a'));
    assert_eq!(ids(&cache.snapshot()), ["a", "a/large"]);
}

#[tokio::test(start_paused = true)]
async fn removed_provider_is_unknown_and_new_when_asked_for_again() {
    let rig = Rig::open(Policy::new());
    let call = HealthCache::provider(&rig.cache, "b").admit().unwrap();
    rig.cache.remove(Rig::ID);
    rig.cache.remove(Rig::ID);
    assert!(rig.cache.get(Rig::ID).is_none());
    assert!(rig.cache.is_healthy(Rig::ID));
    assert_eq!(ids(&rig.cache.snapshot()), ["b"]);

    assert!(!rig.provider.is_healthy(), "the old handle goes on");
    let anew = rig.cache.provider(Rig::ID);
    assert!(anew.is_healthy());
    assert_eq!(anew.health().consecutive_failures, 0);
    rig.provider.mark_healthy();
    anew.mark_unhealthy("down");
    assert_eq!(rig.provider.health().consecutive_failures, 0);

    rig.cache.remove("b");
    call.failure("down");
    assert!(rig.cache.get("b").is_none());
}

#[tokio::test(start_paused = true)]
async fn snapshot_has_a_row_each_in_the_order_of_ids() {
    let cache = HealthCache::default();
    for id in ["c", "a/2", "a", "b", "a/10", ""] {
        cache.provider(id).mark_unhealthy("down");
    }
    advance(secs(1)).await;
    let snapshot = cache.snapshot();
    assert_eq!(snapshot.at, Instant::now());
    assert_eq!(ids(&snapshot), ["", "a", "a/10", "a/2", "b", "c"]);
    for row in &snapshot.providers {
        assert_same(snapshot.get(&row.id).unwrap(), row);
        assert_same(&cache.provider(&*row.id).health(), row);
    }
    assert!(snapshot.get("d").is_none());
}

#[tokio::test(start_paused = true)]
async fn snapshot_of_fills_in_what_is_unknown_and_overwrites_nothing() {
    let rig = Rig::open(Policy::new());
    let _unexpected = rig.cache.provider("z");
    let expected = ["c", Rig::ID, "b", "c", Rig::ID, ""];
    let snapshot = rig.cache.snapshot_of(expected);
    assert_eq!(ids(&snapshot), ["", "a", "b", "c", "z"]);
    assert_same(snapshot.get(Rig::ID).unwrap(), &rig.health());

    let filled_in = snapshot.get("c").unwrap();
    let untouched = HealthCache::default().provider("c").health();
    assert_same(filled_in, &untouched);
    assert_eq!(ids(&rig.cache.snapshot()), ["a", "z"]);

    let none: [&str; 0] = [];
    assert_eq!(ids(&rig.cache.snapshot_of(none)), ["a", "z"]);
    assert_eq!(
        ids(&rig.cache.snapshot_of([String::from("q")])),
        ["a", "q", "z"]
    );
}

#[tokio::test(start_paused = true)]
async fn row_says_why_and_an_operators_words_come_first() {
    let rig = Rig::new(Policy::new());
    assert_eq!(rig.health().reason, None);
    rig.trip();
    assert_eq!(rig.health().reason.unwrap(), "down");
    assert_eq!(rig.health().forced_for, None);

    rig.force(Override::Closed, secs(5), "drill");
    advance(secs(1)).await;
    let forced = rig.health();
    assert_eq!(forced.reason.unwrap(), "drill");
    assert_eq!(forced.last_error.unwrap(), "down");
    assert_eq!(forced.forced_for, Some(secs(4)));

    rig.mark_healthy();
    rig.unforce();
    assert_eq!(rig.health().reason, None);
}

#[tokio::test(start_paused = true)]
async fn row_counts_failed_trials_until_they_are_lived_down() {
    let rig = Rig::half_open(Policy::new()).await;
    for failed in 1..=3 {
        rig.fail();
        assert_eq!(rig.health().failed_trials, failed);
        rig.await_half_open().await;
    }
    rig.succeed();
    advance(just_under(secs(60))).await;
    assert_eq!(rig.health().failed_trials, 3);
    advance(MOMENT).await;
    assert_eq!(rig.health().failed_trials, 0);
}

#[tokio::test(start_paused = true)]
async fn row_says_how_long_the_provider_itself_wants_to_be_left_alone() {
    let rig = Rig::new(Policy::new());
    rig.throttle(secs(20));
    advance(secs(5)).await;
    assert_eq!(rig.health().not_before, Some(secs(15)));
    rig.mark_unhealthy("down");
    assert_eq!(rig.health().retry_in, Some(secs(60)));
    assert_eq!(
        rig.health().not_before,
        Some(secs(15)),
        "a mark names no time"
    );
    advance(secs(15)).await;
    assert_eq!(rig.health().not_before, None);
    assert_eq!(rig.health().retry_in, Some(secs(45)));
}

#[tokio::test(start_paused = true)]
async fn snapshot_is_a_copy() {
    let rig = Rig::open(Policy::new());
    let before = rig.cache.snapshot();
    rig.mark_healthy();
    rig.cache.remove(Rig::ID);
    assert_eq!(before.get(Rig::ID).unwrap().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_readable_and_nothing_deadlocks_by_being_shown() {
    let rig = Rig::open(Policy::new());
    let shown = |what: &dyn Debug| format!("{what:?}");
    assert_eq!(
        shown(&rig.provider),
        r#"Provider(SharedBreaker { id: "a", state: Open, cause: Some(Failures), .. })"#
    );
    assert!(shown(&rig.cache).contains(r#"last_error: Some("down")"#));
    assert!(shown(&rig.cache.snapshot()).contains(r#"id: "a""#));
    assert!(shown(&rig.cache.subscribe()).contains("missed: 0"));
    assert!(shown(&HealthLayer::new(rig.provider.clone())).contains(r#"id: "a""#));
    let refusal = rig.admit().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "circuit breaker of `a` is open, retry in 60.0s: down"
    );
    advance(secs(60)).await;
    assert_eq!(
        shown(&rig.trial()),
        r#"Permit { provider: "a", is_trial: true, .. }"#
    );
}

#[test]
fn handles_and_views_go_to_any_thread() {
    fn handle<T: Clone + Debug + Send + Sync + 'static>() {}
    fn value<T: Debug + Send + Sync + 'static>() {}
    handle::<HealthCache>();
    handle::<Provider>();
    handle::<HealthLayer>();
    handle::<ProviderHealth>();
    handle::<Snapshot>();
    handle::<Transition>();
    handle::<CircuitOpen>();
    value::<Permit>();
    value::<Transitions>();
}
