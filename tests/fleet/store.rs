//! A store that is slow, frozen, gone or empty, or holds invalid entries.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use proptest::prelude::*;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};
use tower_health::{
    BoxError, HealthCache, State,
    fleet::{Entry, Fleet, Reply, Request, Share, Store},
};

use super::{Fault, FaultyStore, MINUTE, POLL, Replica, SECOND, replicas};

impl FaultyStore {
    pub(super) async fn entries(&self) -> Vec<Entry> {
        let reply = self.memory.exchange(&Request::default()).await;
        reply.unwrap().entries
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_go_on_alone_without_the_store() {
    for fault in [
        Fault::Frozen,
        Fault::Refusing,
        Fault::Panicking,
        Fault::Mute,
        Fault::Slow(2 * SECOND),
    ] {
        let ([one, other], store) = replicas(Share::Trust).await;
        store.set(fault);
        one.trip();
        sleep(MINUTE + SECOND).await;
        assert_eq!(other.state(), State::Closed);
        assert!(!one.fleet.view().connected);
        let trial = one.provider.admit();
        assert!(trial.is_ok(), "{fault:?}: no lease is needed: {trial:?}");

        store.set(Fault::None);
        sleep(MINUTE).await;
        assert!(one.fleet.view().connected, "it rejoins");
    }
}

#[tokio::test(start_paused = true)]
async fn store_that_answers_no_lease_delays_a_trial_by_seconds() {
    let ([one], store) = replicas(Share::Trust).await;
    store.set(Fault::Truncated);
    one.trip();
    sleep(MINUTE).await;
    one.win_trial().await.success();
}

#[tokio::test(start_paused = true)]
async fn calls_cause_no_exchanges_unless_a_breaker_changes() {
    let ([one], store) = replicas(Share::Advise).await;
    let before = store.exchanges.load(SeqCst);
    for _ in 0..600 {
        one.fail();
        one.succeed();
        sleep(SECOND / 10).await;
    }
    let exchanges = store.exchanges.load(SeqCst) - before;
    assert!(
        (54..=67).contains(&exchanges),
        "{exchanges} polls in a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_never_wait_for_a_frozen_store() {
    let ([one, _other], store) = replicas(Share::Trust).await;
    store.set(Fault::Frozen);
    let started = Instant::now();
    one.succeed();
    one.trip();
    one.provider.admit().unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn open_windows_are_written_again_after_a_flush() {
    let ([one, other], store) = replicas(Share::Trust).await;
    one.trip();
    sleep(POLL).await;
    store.memory.clear();
    sleep(2 * POLL).await;
    assert_eq!(other.state(), State::Open, "a flush ends nothing");
    let late = Replica::of(|cache| Fleet::new(cache, store.clone()).share(Share::Trust));
    sleep(POLL).await;
    assert_eq!(late.state(), State::Open, "it was written again");
    assert!(late.retry_in() <= one.retry_in());
}

#[tokio::test(start_paused = true)]
async fn replica_that_starts_in_an_outage_learns_of_it() {
    let ([one], store) = replicas(Share::Trust).await;
    one.trip();
    sleep(10 * SECOND).await;
    let late = Replica::of(|cache| Fleet::new(cache, store.clone()).share(Share::Trust));
    sleep(SECOND / 10).await;
    assert_eq!(late.state(), State::Open);
    assert!(late.retry_in() <= one.retry_in());
}

#[tokio::test(start_paused = true)]
async fn provider_that_is_added_later_learns_of_it() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    let late = one.cache.provider("late");
    for _ in 0..2 {
        late.admit().unwrap().failure("timeout");
    }
    sleep(POLL).await;
    let late = other.cache.provider("late");
    sleep(POLL).await;
    assert_eq!(late.health().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn stopped_fleet_leaves_the_breakers_working() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    other.fleet.stop().await;
    other.fleet.stop().await;
    one.trip();
    sleep(POLL).await;
    assert_eq!(other.state(), State::Closed);
    other.trip();
    sleep(MINUTE).await;
    other.succeed();
}

#[tokio::test(start_paused = true)]
async fn task_ends_with_the_last_handle_and_with_the_cache() {
    let ([one, other], _store) = replicas(Share::Trust).await;
    let Replica {
        provider, fleet, ..
    } = one;
    drop(fleet);
    sleep(POLL).await;
    other.trip();
    sleep(POLL).await;
    assert_eq!(provider.health().state, State::Closed);

    let fleet = other.fleet.clone();
    drop(other);
    sleep(POLL).await;
    assert!(!fleet.view().connected);
    fleet.stop().await;
}

/// A store that always replies with the same entries.
struct Hostile(Vec<(&'static str, &'static str)>);

impl Store for Hostile {
    async fn exchange(&self, request: &Request) -> Result<Reply, BoxError> {
        let entries = self.0.iter().map(|(key, value)| Entry {
            key: (*key).into(),
            token: 7,
            value: (*value).into(),
            remaining: Duration::MAX,
        });
        Ok(Reply {
            entries: entries.collect(),
            granted: vec![true; request.leases.len()],
        })
    }
}

#[tokio::test(start_paused = true)]
async fn unreadable_entries_are_ignored() {
    let huge: &'static str = "x".repeat(1_000_000).leak();
    let cache = HealthCache::default();
    let provider = cache.provider("a");
    let entries = vec![
        ("", ""),
        ("/", "/"),
        ("1", ""),
        ("1/open/a", ""),
        ("1/open/a", "1 -1 timeout"),
        ("1/open/a", "1 99999999999999999999 timeout"),
        ("1/throttled/a", "1 0 429"),
        ("1/forced/a", "ajar x"),
        ("1/check/a", "1 functional failed x"),
        ("1/check/a", "1 99999999999999999999999 functional failed x"),
        ("1/check/a", "1 0 deep passed x"),
        ("1/vote/zz/b", "down"),
        ("1/replica/b", "open"),
        ("1/ended/not a token", ""),
        ("1/unknown/a", "x"),
        ("2/open/a", "1 0 timeout"),
        ("open/a", "1 0 timeout"),
        (huge, huge),
    ];
    let fleet = Fleet::new(&cache, Hostile(entries))
        .share(Share::Trust)
        .spawn();
    sleep(POLL).await;
    assert!(fleet.view().connected);
    assert_eq!(provider.health().state, State::Closed);
}

/// Returns keys and values that are almost valid.
fn almost() -> impl Strategy<Value = (String, String)> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("default".to_owned()),
        Just("7".to_owned()),
        Just("open".to_owned()),
        Just("functional".to_owned()),
        Just("passed".to_owned()),
        Just("18446744073709551615".to_owned()),
        ".{0,3}",
    ];
    let kind = prop::sample::select(vec![
        "open",
        "throttled",
        "ended",
        "vote",
        "check",
        "forced",
        "replica",
        "new",
    ]);
    let key = (kind, prop::collection::vec(part.clone(), 0..3));
    let key = key.prop_map(|(kind, parts)| format!("1/{kind}/{}", parts.join("/")));
    let value = prop::collection::vec(part, 0..6).prop_map(|parts| parts.join(" "));
    (key, value)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_entry_panics_or_holds_a_provider_for_longer_than_an_override(
        entries in prop::collection::vec(almost(), 0..20),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cache = HealthCache::default();
            let provider = cache.provider("a");
            let entries = entries.into_iter().map(|(key, value)| (&*key.leak(), &*value.leak()));
            let fleet = Fleet::new(&cache, Hostile(entries.collect()))
                .share(Share::Trust)
                .share_overrides(true)
                .spawn();
            sleep(5 * SECOND).await;
            assert!(fleet.view().connected);
            let health = provider.health();
            let week = Duration::from_secs(7 * 24 * 60 * 60);
            assert!(health.retry_in.is_none_or(|wait| wait <= week), "{health:?}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_values_are_bounded() {
    let huge: &'static str = format!("1 1 {}", "é".repeat(100_000)).leak();
    let forced: &'static str = format!("open {}", "é".repeat(100_000)).leak();
    let cache = HealthCache::default();
    let (a, b) = (cache.provider("a"), cache.provider("b"));
    let store = Hostile(vec![("1/open/a", huge), ("1/forced/b", forced)]);
    let fleet = Fleet::new(&cache, store)
        .share(Share::Trust)
        .share_overrides(true)
        .spawn();
    sleep(POLL).await;
    let health = a.health();
    assert_eq!(health.state, State::Open);
    assert!(health.retry_in.unwrap() <= MINUTE);
    assert!(health.last_error.unwrap().label().len() <= 64);
    let health = b.health();
    assert!(health.reason.unwrap().len() <= 256);
    assert!(health.forced_for.unwrap() <= Duration::from_secs(7 * 24 * 60 * 60));
    drop(fleet);
}

#[tokio::test(start_paused = true)]
async fn names_are_checked() {
    let cache = HealthCache::default();
    for name in ["", "a/b", &"x".repeat(129)] {
        let fleet = || Fleet::new(&cache, FaultyStore::default());
        let panics = |set: &dyn Fn(Arc<str>)| {
            panic::catch_unwind(AssertUnwindSafe(|| set(name.into()))).is_err()
        };
        assert!(panics(&|name| drop(fleet().replica(name))));
        assert!(panics(&|name| drop(fleet().quota_scope(name))));
    }
}
