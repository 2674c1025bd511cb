//! Providers that recover, and providers that do not.

use http::Uri;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower_health::{HealthProbe, State, http::HttpCheck};

use crate::{
    pair::{Answer, MILLISECOND, Pair, client_of, get, open_for},
    server::{Script, Server},
};

/// Row 41; row 27 over sockets: after a failed trial, a passed reachability check shortens no open window.
#[tokio::test]
async fn a_probe_that_passes_costs_one_call_more_where_every_post_fails() {
    let window = 300 * MILLISECOND;
    let a = Server::start(|request| {
        if request.starts_with("GET ") {
            Script::well("a")
        } else {
            Script::status("503 Service Unavailable")
        }
    });
    let mut pair = Pair::new(open_for(window), client_of(&a));
    let check = HttpCheck::get(client_of(&a), Uri::from_static("/models"));
    let probe = HealthProbe::new(&pair.cache)
        .interval(20 * MILLISECOND)
        .check_with("a", check)
        .spawn();

    let start = Instant::now();
    let mut wasted = 0;
    while start.elapsed() < 4 * window {
        let answer = pair.post("prompt").await;
        if answer != Answer::from_b(&["a: circuit open"]) {
            assert_eq!(answer, Answer::from_b(&["a: 503"]));
            wasted += 1;
        }
        sleep(10 * MILLISECOND).await;
    }
    probe.stop().await;
    let history = pair.transitions();

    assert_eq!(a.posts(), wasted);
    assert_eq!(wasted, 2 + history.count(State::HalfOpen, State::Open));
    assert_eq!(history.count(State::HalfOpen, State::Closed), 0);
    let windows = history.windows();
    let (shortened, others) = windows.split_first().unwrap();
    assert!(*shortened < window);
    assert!(others.len() >= 2);
    assert!(others.iter().all(|took| *took == window));
}

/// Row 42.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eighty_callers_at_once_one_reaches_a_half_open_provider() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let pair = Pair::new(open_for(100 * MILLISECOND), client_of(&a));
    pair.trip_a().await;
    pair.a_is_half_open().await;
    a.becomes(|_| Script::default().await_cue().then(Script::well("a")));

    let mut calls = JoinSet::new();
    for _ in 0..80 {
        let chain = pair.chain.clone();
        calls.spawn(async move { get(&chain).await.unwrap() });
    }
    for _ in 0..79 {
        let served = calls.join_next().await.unwrap().unwrap();
        assert_eq!(served, Answer::from_b(&["a: circuit open"]));
    }
    assert_eq!(pair.state_of_a(), State::HalfOpen);
    a.cue();
    assert_eq!(calls.join_next().await.unwrap().unwrap(), Answer::from_a());

    assert_eq!(pair.state_of_a(), State::Closed);
    assert_eq!((a.requests(), pair.b.requests()), (2 + 1, 2 + 79));
}

/// Row 43, at fifty times the rate.
#[tokio::test]
async fn no_caller_sees_a_provider_that_flaps() {
    const DOWNS: usize = 5;
    let window = 60 * MILLISECOND;
    let a = Server::start(|_| Script::well("a"));
    let mut pair = Pair::new(open_for(window), client_of(&a));

    let start = Instant::now();
    let mut failed = 0;
    for _ in 0..DOWNS {
        a.becomes(|_| Script::well("a"));
        assert_eq!(failures_of_ten_calls(&pair).await, 0);
        a.becomes(|_| Script::default().reset());
        failed += failures_of_ten_calls(&pair).await;
    }
    let took = start.elapsed();

    let history = pair.transitions();
    let tripped = history.count(State::Closed, State::Open);
    let reopened = history.count(State::HalfOpen, State::Open);
    assert_eq!(failed, 2 * tripped + reopened);
    assert!((1..=DOWNS).contains(&tripped));
    assert!(window * u32::try_from(tripped + reopened - 1).unwrap() <= took);

    a.becomes(|_| Script::well("a"));
    pair.a_is_half_open().await;
    assert_eq!(pair.get().await, Answer::from_a());
    assert_eq!(pair.state_of_a(), State::Closed);
}

/// Makes ten calls in 100 ms, and returns how many `b` served after a reset by `a`.
async fn failures_of_ten_calls(pair: &Pair) -> usize {
    let mut failures = 0;
    for _ in 0..10 {
        let answer = pair.get().await;
        if answer.attempts == ["a: Connection reset by peer"] {
            assert_eq!(answer.text, "from b");
            failures += 1;
        } else if answer.served_by == "a" {
            assert_eq!(answer, Answer::from_a());
        } else {
            assert_eq!(answer, Answer::from_b(&["a: circuit open"]));
        }
        sleep(10 * MILLISECOND).await;
    }
    failures
}
