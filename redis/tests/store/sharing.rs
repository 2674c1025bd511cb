//! Sharing works over a real server as over a store in memory.

use std::time::Duration;

use tokio::time::sleep;
use tower_health::{Cause, Policy, State, Trip, fleet::Share};

use super::{POLL, Replica, Server, eventually};

#[tokio::test]
async fn open_window_reaches_the_others_by_the_mode() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Advise).await;
    let advised = Replica::join(&server.url(), Share::Advise).await;
    let quorum = Replica::join(&server.url(), Share::Quorum).await;
    let trusting = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    eventually("the trusting one is open", || {
        trusting.state() == State::Open
    })
    .await;
    assert_eq!(trusting.provider.health().cause, Some(Cause::Peer));
    // Later by as long as the exchange took.
    let [trusting, own] = [&trusting, &one].map(|it| it.provider.health().retry_in.unwrap());
    assert!(
        trusting <= own + Duration::from_millis(500),
        "{trusting:?}, {own:?}"
    );

    sleep(5 * POLL).await;
    assert_eq!(advised.state(), State::Closed);
    assert_eq!(quorum.state(), State::Closed);
    advised.provider.admit().unwrap().failure("timeout");
    eventually("the warned one is open", || advised.state() == State::Open).await;
}

#[tokio::test]
async fn two_votes_open_an_idle_replica() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Quorum).await;
    let two = Replica::join(&server.url(), Share::Quorum).await;
    let idle = Replica::join(&server.url(), Share::Quorum).await;
    one.trip();
    two.trip();
    eventually("the idle one is open", || idle.state() == State::Open).await;
}

#[tokio::test]
async fn throttle_opens_its_scope() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Advise).await;
    let same = Replica::join(&server.url(), Share::Advise).await;
    let other = Replica::start(&server.url(), |fleet| fleet.quota_scope("eu"));
    let wait = Some(Duration::from_secs(30));
    one.provider.admit().unwrap().throttled(wait, "429");
    eventually("the same scope is open", || same.state() == State::Open).await;
    sleep(5 * POLL).await;
    assert_eq!(other.state(), State::Closed);
}

#[tokio::test]
async fn twenty_replicas_send_one_trial_whose_success_closes_all() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let mut replicas = Vec::new();
    for _ in 0..20 {
        replicas.push(Replica::join(&server.url(), Share::Advise).await);
    }
    let second = Duration::from_secs(1);
    for replica in &replicas {
        let policy = Policy::new().trip(Trip::consecutive(2));
        let policy = policy.backoff(tower_health::Backoff::constant(second));
        replica.provider.set_policy(policy);
        replica.trip();
    }
    sleep(2 * second).await;
    let mut trials = Vec::new();
    for _ in 0..40 {
        trials.extend(replicas.iter().filter_map(|it| it.provider.admit().ok()));
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(trials.len(), 1);
    trials.pop().unwrap().success();
    eventually("all are closed", || {
        replicas.iter().all(|it| it.state() == State::Closed)
    })
    .await;
}

#[tokio::test]
async fn lease_of_a_dead_replica_ends_by_itself() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let second = Duration::from_secs(1);
    let start = || Replica::start(&server.url(), |fleet| fleet.trial_lease(2 * second));
    let [one, other] = [start(), start()];
    for replica in [&one, &other] {
        eventually("connected", || replica.is_connected()).await;
        let policy = Policy::new().backoff(tower_health::Backoff::constant(second));
        replica.provider.set_policy(policy);
        replica.trip();
    }
    eventually("the first has its trial", || {
        one.provider.admit().map(std::mem::forget).is_ok()
    })
    .await;
    let waited = eventually("the other has its trial", || other.provider.admit().is_ok()).await;
    assert!(waited > second, "{waited:?}");
}

#[tokio::test]
async fn everything_ends_by_itself() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let second = Duration::from_secs(1);
    let policy = Policy::new().backoff(tower_health::Backoff::constant(second));
    one.provider.set_policy(policy);
    one.trip();
    sleep(3 * POLL).await;
    let fields: usize = server.run(&["HLEN", "{tower-health}:1:entries"]).await;
    assert_eq!(fields, 2, "the window and the version");
    drop(one);
    sleep(2 * second).await;
    let keys: Vec<String> = server.run(&["KEYS", "*"]).await;
    assert_eq!(keys, Vec::<String>::new());
}

#[tokio::test]
async fn fleets_with_other_prefixes_do_not_meet() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let cache = tower_health::HealthCache::default();
    let elsewhere = cache.provider("a");
    let store = tower_health_redis::RedisStore::open(server.url()).unwrap();
    let store = store.prefix("another");
    let fleet = tower_health::fleet::Fleet::new(&cache, store)
        .share(Share::Trust)
        .poll_interval(POLL)
        .spawn();
    eventually("connected", || fleet.view().connected).await;
    one.trip();
    sleep(5 * POLL).await;
    assert!(elsewhere.is_healthy());
}

#[tokio::test]
async fn password_and_user_of_the_url_are_used() {
    let Some(server) = Server::start(&["--requirepass", "secret"]).await else {
        return;
    };
    let refused = Replica::start(&server.url(), |fleet| fleet);
    eventually("it is refused", || refused.fleet.view().error.is_some()).await;
    let error = refused.fleet.view().error.unwrap().to_string();
    assert!(error.contains("NOAUTH"), "{error}");

    let wrong = format!("redis://:hunter2@{}", server.address());
    let wrong = Replica::start(&wrong, |fleet| fleet);
    eventually("it is refused", || wrong.fleet.view().error.is_some()).await;
    let error = wrong.fleet.view().error.unwrap().to_string();
    assert!(!error.contains("hunter2"), "{error}");

    let url = format!("redis://:secret@{}", server.address());
    Replica::join(&url, Share::Advise).await;
}

/// The user of the README.
#[tokio::test]
async fn user_with_the_least_rights_is_enough() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let readme = include_str!("../../README.md");
    let rule = readme.lines().find(|line| line.starts_with("ACL SETUSER"));
    let rule: Vec<&str> = rule.unwrap().split(' ').collect();
    let _: String = server.run(&rule).await;
    let url = format!("redis://gateway:password@{}", server.address());
    let one = Replica::join(&url, Share::Trust).await;
    let other = Replica::join(&url, Share::Trust).await;
    one.trip();
    eventually("the other is open", || other.state() == State::Open).await;
    for replica in [&one, &other] {
        let second = Duration::from_secs(1);
        let policy = Policy::new().backoff(tower_health::Backoff::constant(second));
        replica.provider.set_policy(policy);
        replica.provider.mark_healthy();
    }
    sleep(10 * POLL).await;
    one.trip();
    eventually("a trial is admitted", || one.provider.admit().is_ok()).await;
    assert!(one.is_connected() && other.is_connected());
}

#[tokio::test]
async fn valkey_works_alike() {
    let Some(server) = Server::start_program("valkey-server", &[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let other = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    eventually("the other is open", || other.state() == State::Open).await;
}
