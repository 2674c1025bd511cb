//! A server that is frozen, killed, emptied, full, read-only or holds nonsense.

use std::time::Duration;

use tokio::time::sleep;
use tower_health::{State, fleet::Share};

use super::{POLL, Replica, Server, eventually};

const ENTRIES: &str = "{tower-health}:1:entries";

#[tokio::test]
async fn open_windows_survive_an_empty_restart_and_a_flush() {
    let Some(mut server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let other = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    eventually("the other is open", || other.state() == State::Open).await;

    server.restart().await;
    eventually("both are connected again", || {
        one.is_connected() && other.is_connected()
    })
    .await;
    let late = Replica::join(&server.url(), Share::Trust).await;
    eventually("the window is written again", || {
        late.state() == State::Open
    })
    .await;

    let _: String = server.run(&["FLUSHALL"]).await;
    let late = Replica::join(&server.url(), Share::Trust).await;
    eventually("the window is written again", || {
        late.state() == State::Open
    })
    .await;
    assert_eq!(one.state(), State::Open);
    assert_eq!(other.state(), State::Open);
}

#[tokio::test]
async fn replicas_go_on_alone_while_the_server_is_dead() {
    let Some(mut server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let other = Replica::join(&server.url(), Share::Trust).await;
    server.kill();
    eventually("the loss is noticed", || {
        !one.is_connected() && !other.is_connected()
    })
    .await;
    one.trip();
    assert_eq!(other.state(), State::Closed);
    server.restart().await;
    eventually("the window arrives", || other.state() == State::Open).await;
}

#[tokio::test]
async fn frozen_server_neither_delays_nor_changes_calls() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let in_fleet = Replica::join(&server.url(), Share::Trust).await;
    let alone = tower_health::HealthCache::default().provider("a");
    server.signal("STOP");
    // Every 50th call fails, on both sides alike.
    let mut slowest = [Duration::ZERO; 2];
    let mut admitted = [0; 2];
    let started = std::time::Instant::now();
    let mut call = 0;
    while started.elapsed() < Duration::from_secs(10) {
        call += 1;
        for (side, provider) in [&in_fleet.provider, &alone].into_iter().enumerate() {
            let started = std::time::Instant::now();
            if let Ok(permit) = provider.admit() {
                admitted[side] += 1;
                if call % 50 == 0 {
                    permit.failure("timeout");
                } else {
                    permit.success();
                }
            }
            slowest[side] = slowest[side].max(started.elapsed());
        }
        if call % 100 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(admitted[0], admitted[1], "of {call} calls");
    assert!(slowest[0] < Duration::from_millis(200), "{slowest:?}");
    assert!(!in_fleet.is_connected());

    server.signal("CONT");
    eventually("it rejoins", || in_fleet.is_connected()).await;
}

#[tokio::test]
async fn full_server_is_an_error_until_there_is_room() {
    let Some(server) = Server::start(&["--maxmemory-policy", "noeviction"]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    one.trip();
    eventually("the error is shown", || {
        let error = one.fleet.view().error;
        error.is_some_and(|error| error.contains("OOM"))
    })
    .await;
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("it rejoins", || one.is_connected()).await;
    let late = Replica::join(&server.url(), Share::Trust).await;
    eventually("the window is written", || late.state() == State::Open).await;
}

#[tokio::test]
async fn read_only_server_is_an_error() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    // A replica of a server that does not exist.
    let _: String = server.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    one.trip();
    eventually("the loss is noticed", || !one.is_connected()).await;
    let _: String = server.run(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it rejoins", || one.is_connected()).await;
}

#[tokio::test]
async fn wrong_type_under_the_key_is_an_error_until_it_is_gone() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    let _: String = server.run(&["SET", ENTRIES, "a string"]).await;
    one.trip();
    eventually("the error is shown", || {
        let error = one.fleet.view().error;
        error.is_some_and(|error| error.contains("WRONGTYPE"))
    })
    .await;
    let _: i64 = server.run(&["DEL", ENTRIES]).await;
    eventually("it rejoins", || one.is_connected()).await;
}

#[tokio::test]
async fn nonsense_and_other_versions_are_ignored() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let far = "99999999999999";
    for (key, value) in [
        ("1/open/a", "nonsense"),
        ("1/open/a", "99999999999999 xyz 0 timeout"),
        ("1/open/a", "99999999999999 1 1 not-a-number timeout"),
        (
            "1/open/a",
            "99999999999999 11111111111111111111111111 1 0 timeout",
        ),
        ("2/open/a", "99999999999999 1 1 0 timeout"),
        ("1/open/a", "1 1 1 0 timeout"),
    ] {
        let _: i64 = server.run(&["HSET", ENTRIES, key, value]).await;
        let one = Replica::join(&server.url(), Share::Trust).await;
        sleep(3 * POLL).await;
        assert_eq!(one.state(), State::Closed, "{key} {value}");
        assert!(one.is_connected());
        let _: i64 = server.run(&["DEL", ENTRIES]).await;
    }
    // A well-formed entry of another hand is applied, within the limits.
    let entry = format!("{far} 1 1 0 timeout");
    let _: i64 = server.run(&["HSET", ENTRIES, "1/open/a", &entry]).await;
    let one = Replica::join(&server.url(), Share::Trust).await;
    eventually("it is open", || one.state() == State::Open).await;
    assert!(one.provider.health().retry_in.unwrap() <= Duration::from_secs(60));
}

#[tokio::test]
async fn dead_entries_do_not_keep_new_ones_out() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = redis::cmd("HSET");
    cmd.arg(ENTRIES);
    for number in 0..20_000 {
        cmd.arg(format!("1/open/{number}")).arg("1 1 1 0 timeout");
    }
    let _: i64 = cmd.query_async(&mut connection).await.unwrap();
    let one = Replica::join(&server.url(), Share::Trust).await;
    let other = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    eventually("the window arrives", || other.state() == State::Open).await;
}

#[tokio::test]
async fn open_windows_survive_the_loss_of_the_key() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let one = Replica::join(&server.url(), Share::Trust).await;
    one.trip();
    sleep(5 * POLL).await;
    let _: i64 = server.run(&["DEL", ENTRIES]).await;
    let late = Replica::join(&server.url(), Share::Trust).await;
    eventually("the window is written again", || {
        late.state() == State::Open
    })
    .await;
}

#[tokio::test]
async fn binary_entries_are_removed() {
    let Some(server) = Server::start(&[]).await else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut cmd = redis::cmd("HSET");
    cmd.arg(ENTRIES)
        .arg(&[0xff_u8, 0xfe][..])
        .arg(&b"9\xff"[..]);
    let _: i64 = cmd.query_async(&mut connection).await.unwrap();
    let one = Replica::join(&server.url(), Share::Trust).await;
    assert_eq!(one.state(), State::Closed);
    let fields: usize = server.run(&["HLEN", ENTRIES]).await;
    assert_eq!(fields, 0);
}
