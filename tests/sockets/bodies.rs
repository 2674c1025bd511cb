//! A provider that answers 200 and then breaks, hangs or drips.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tower::{Layer, ServiceBuilder, timeout::TimeoutLayer};
use tower_health::{Policy, State, Trip};

use crate::{
    pair::{
        Answer, MILLISECOND, Pair, SECOND, call, client_of, exhausted, first_token, get, root,
        shown,
    },
    server::{Script, Server},
};

/// Row 36. A provider that resets every stream after its first chunk opens at the second reset.
#[tokio::test]
async fn a_reset_after_the_first_chunk_is_the_callers_to_see_and_opens_at_the_second() {
    let a = Server::start(|_| Script::stream().chunk("from").await_cue().reset());
    let pair = Pair::of(&a);

    for resets in 1..=2 {
        let mut body = pair.stream().await;
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "from");
        a.cue();
        body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none(), "nothing is spliced");
        assert_eq!(pair.a.health().consecutive_failures, resets);
    }

    assert_eq!(pair.state_of_a(), State::Open);
    let last_error = pair.a.health().last_error.unwrap();
    assert_eq!(root(&last_error), "Connection reset by peer");
    for _ in 3..=5 {
        assert_eq!(pair.get().await, Answer::from_b(&["a: circuit open"]));
    }
    assert_eq!((a.requests(), pair.b.requests()), (2, 3));
}

/// Row 37.
#[tokio::test]
async fn an_error_before_the_first_token_is_served_by_b() {
    let error = "event: error\ndata: overloaded\n\n";
    let empty = Script::events().chunk("data:\n\n").chunk("data:\n\n");
    let beginnings = [
        (Script::events().chunk(error), "overloaded"),
        (empty.clone().chunk(error), "overloaded"),
        (empty.clone().reset(), "Connection reset by peer"),
        (empty.last_chunk(), "body ended without content"),
    ];
    for (beginning, cause) in beginnings {
        let a = Server::start(move |_| beginning.clone());
        let peeking = first_token().layer(client_of(&a));
        let pair = Pair::new(Policy::new(), peeking);
        let failed = format!("a: {cause}");
        for failures in 1..=2 {
            assert_eq!(pair.get().await, Answer::from_b(&[&failed]));
            assert_eq!(pair.a.health().consecutive_failures, failures);
        }
        assert_eq!(pair.get().await, Answer::from_b(&["a: circuit open"]));
        assert_eq!(a.requests(), 2);
    }
}

/// Row 37: a valid stream passes unchanged, including its preamble.
#[tokio::test]
async fn a_stream_that_begins_late_is_served_whole() {
    let events = [": hello\n\n", "data:\n\n", "data: from a\n\n", "data:\n\n"];
    let a = Server::start(move |_| {
        let stream = events.into_iter().fold(Script::events(), Script::chunk);
        stream.last_chunk()
    });
    let peeking = first_token().layer(client_of(&a));
    let pair = Pair::new(Policy::new(), peeking);
    pair.a.mark_unhealthy("a strike");

    let whole = Answer {
        text: events.concat(),
        ..Answer::from_a()
    };
    assert_eq!(pair.get().await, whole);
    assert_eq!(pair.a.health().consecutive_failures, 0);
}

/// Row 38.
#[tokio::test]
async fn comments_without_end_are_cut_off_and_b_serves() {
    let a = Server::start(|_| {
        let ping = |stream: Script, _| stream.pause(25 * MILLISECOND).chunk(": ping\n\n");
        let pings = (0..400).fold(Script::events(), ping);
        pings.chunk("data: at last\n\n")
    });
    let peek = first_token().within(200 * MILLISECOND);
    let pair = Pair::new(Policy::new(), peek.layer(client_of(&a)));

    let start = Instant::now();
    let failed = "a: body did not begin within 200ms";
    for attempt in [failed, failed, "a: circuit open"] {
        assert_eq!(pair.get().await, Answer::from_b(&[attempt]));
    }
    assert!(start.elapsed() >= 400 * MILLISECOND);
    assert!(start.elapsed() < 5 * SECOND, "the token takes 10 s");
    assert_eq!(a.requests(), 2);
}

/// Row 39: the timeout of the stack limits the head and, around a peek, the first token.
#[tokio::test]
async fn what_drips_before_the_first_token_is_cut_off_and_b_serves() {
    let head = Script::default().drip("HTTP/1.1 200 OK\r\n\r\n", DRIP);
    for beginning in [head, token_that_drips()] {
        let a = Server::start(move |_| beginning.clone());
        let hurried = ServiceBuilder::new()
            .layer(TimeoutLayer::new(500 * MILLISECOND))
            .layer(first_token())
            .service(client_of(&a));
        let pair = Pair::new(Policy::new(), hurried);

        let start = Instant::now();
        let timed_out = Answer::from_b(&["a: request timed out"]);
        assert_eq!(pair.get().await, timed_out);
        assert!(start.elapsed() < 2 * SECOND, "before the token");
        assert_eq!(pair.a.health().consecutive_failures, 1);
        assert_eq!(a.requests(), 1);
    }
}

/// Row 39: the deadline of the chain.
#[tokio::test]
async fn a_first_token_that_drips_ends_with_the_deadline() {
    let a = Server::start(|_| token_that_drips());
    let peeking = first_token().layer(client_of(&a));
    let pair = Pair::new(Policy::new(), peeking);
    let chain = pair.chain.clone().deadline(500 * MILLISECOND);

    let start = Instant::now();
    let error = get(&chain).await.unwrap_err();
    assert!(start.elapsed() < 2 * SECOND, "before the token");
    let attempts = &exhausted(&error).attempts;
    assert_eq!(shown(attempts), ["a: deadline exceeded"]);
    assert!(attempts[0].elapsed >= 500 * MILLISECOND);
    assert_eq!((a.requests(), pair.b.requests()), (1, 0));
}

/// Row 39; rule 11: after a body has begun, the caller's own deadline is not the provider's fault.
#[tokio::test]
async fn bodies_that_drip_until_their_callers_give_up_say_nothing_where_cancelled_calls_count() {
    let a = Server::start(|_| {
        let head = Script::default().head("200 OK", &[("content-length", "6")]);
        head.drip("from a", DRIP)
    });
    let trip = Trip::consecutive(2).cancelled_after(100 * MILLISECOND);
    let pair = Pair::new(Policy::new().trip(trip), client_of(&a));

    for calls in 1..=2 {
        let given_up = timeout(500 * MILLISECOND, pair.get()).await;
        assert!(given_up.is_err());
        assert_eq!(pair.a.health().consecutive_failures, 0);
        assert_eq!(a.requests(), calls);
    }
}

/// Row 40.
#[tokio::test]
async fn a_body_that_is_cut_off_is_a_failure() {
    let cut_off = [
        Script::default()
            .head("200 OK", &[("content-length", "100")])
            .send("from a"),
        Script::stream().chunk("from a"),
    ];
    for script in cut_off {
        let a = Server::start(move |_| script.clone());
        let pair = Pair::of(&a);
        let half = Answer {
            is_whole: false,
            ..Answer::from_a()
        };
        for failures in 1..=2 {
            assert_eq!(pair.get().await, half);
            assert_eq!(pair.a.health().consecutive_failures, failures);
        }
        assert_eq!(pair.get().await, Answer::from_b(&["a: circuit open"]));
        assert_eq!((a.requests(), pair.b.requests()), (2, 1));
    }
}

/// 200 streams of 100 chunks pass through a `HealthBody` byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_come_byte_for_byte() {
    let a = Server::start(|request| {
        let (_, number) = request.split_once("GET /").unwrap();
        let (number, _) = number.split_once(' ').unwrap();
        let chunks = chunks(number.parse().unwrap());
        let stream = chunks.fold(Script::stream(), |stream, chunk| stream.chunk(&chunk));
        stream.last_chunk()
    });
    let mut pair = Pair::of(&a);
    pair.a.mark_unhealthy("a strike");

    let mut calls = JoinSet::new();
    for number in 0..200 {
        let chain = pair.chain.clone();
        calls.spawn(async move {
            let request = Request::get(format!("/{number}")).body(Full::default());
            let answer = call(&chain, request.unwrap()).await.unwrap();
            let sent = Answer {
                text: chunks(number).collect(),
                ..Answer::from_a()
            };
            assert!(answer == sent, "stream {number}");
        });
    }
    calls.join_all().await;

    assert_eq!(pair.a.health().consecutive_failures, 0);
    assert_eq!(pair.transitions().len(), 0);
    assert_eq!((a.requests(), pair.b.requests()), (200, 0));
}

const DRIP: Duration = Duration::from_millis(200);

/// A first token that takes 2.8 s.
fn token_that_drips() -> Script {
    Script::default()
        .head("200 OK", &[("content-type", "text/event-stream")])
        .drip("data: from a\n\n", DRIP)
}

/// 100 chunks of up to 300 bytes, different from those of any other stream.
fn chunks(number: usize) -> impl Iterator<Item = String> {
    (0..100)
        .map(move |chunk| format!("<{number}.{chunk}>").repeat(1 + (7 * number + 3 * chunk) % 30))
}
