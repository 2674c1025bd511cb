//! Faults of the caller: bad requests, cancelled calls, bodies that can be sent only once.

use std::marker::PhantomData;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tower::Service;
use tower_health::{FallbackChain, State, Trials};

use crate::{
    pair::{Answer, MILLISECOND, Pair, client_of, get, open_for},
    server::{Script, Server},
};

/// Row 44.
#[tokio::test]
async fn the_callers_own_mistakes_are_returned_without_a_strike() {
    let statuses = [
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (404, "404 Not Found"),
        (422, "422 Unprocessable Content"),
    ];
    for (status, line) in statuses {
        let a = Server::start(move |_| Script::answer(line, &[], "from a"));
        let pair = Pair::of(&a);
        pair.a.mark_unhealthy("a strike");

        let returned = Answer {
            status,
            ..Answer::from_a()
        };
        for strikes in [1, 1, 0] {
            assert_eq!(pair.post("prompt").await, returned);
            assert_eq!(
                pair.a.health().consecutive_failures,
                strikes,
                "three answers end the streak"
            );
        }
        assert_eq!(pair.state_of_a(), State::Closed);
        assert_eq!((a.requests(), pair.b.requests()), (3, 0));
    }
}

/// Row 45.
#[tokio::test]
async fn callers_who_walk_away_say_nothing() {
    let a = Server::start(|_| Script::default().hang());
    let mut pair = Pair::of(&a);
    for walk in 1..=3 {
        walk_away(&pair, &a, walk).await;
    }
    a.becomes(|_| Script::stream().chunk("from").hang());
    for _ in 4..=6 {
        pair.stream().await.frame().await.unwrap().unwrap();
    }
    assert_eq!(pair.a.health().consecutive_failures, 0);
    assert_eq!(pair.transitions().len(), 0);
    assert_eq!((a.requests(), pair.b.requests()), (6, 0));
}

/// Row 45; rule 3.
#[tokio::test]
async fn callers_who_walk_away_from_a_trial_leave_its_slot_free() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let pause = 50 * MILLISECOND;
    let policy = open_for(100 * MILLISECOND).trials(Trials::new(1).pause(pause));
    let mut pair = Pair::new(policy, client_of(&a));
    pair.trip_a().await;

    a.becomes(|_| Script::default().hang());
    for walk in 3..=5 {
        pair.a_is_half_open().await;
        walk_away(&pair, &a, walk).await;
        assert!(pair.a.health().retry_in <= Some(pause));
    }

    a.becomes(|_| Script::well("a"));
    pair.a_is_half_open().await;
    assert_eq!(pair.get().await, Answer::from_a());
    assert_eq!(pair.state_of_a(), State::Closed);
    assert_eq!(pair.transitions().len(), 3);
    assert_eq!(a.requests(), 6);
}

/// Row 48: `a` received half of the body, and `b` receives all of it.
#[tokio::test]
async fn a_request_that_broke_off_is_sent_again_from_its_first_byte() {
    let a = Server::start(|_| Script::default().reset());
    let pair = Pair::of(&a);
    let body = "0123456789".repeat(1 << 20);

    let answer = pair.post(body.clone()).await;

    assert_eq!((&*answer.text, answer.is_whole), ("from b", true));
    assert_eq!((a.requests(), pair.b.requests()), (1, 1));
    assert!(a.last_request().len() < body.len());
    let received = pair.b.last_request();
    let (_, received) = received.split_once("\r\n\r\n").unwrap();
    assert!(received == body, "{} bytes", received.len());
}

/// Row 48: such a chain does not compile. A doctest of `http::ReplayLayer` shows this for `FallbackChain::http`.
#[test]
fn a_chain_of_requests_that_cannot_be_cloned_cannot_be_made() {
    type Hyper<B> = Client<HttpConnector, B>;
    type Chain<B> = FallbackChain<Hyper<B>, Request<B>>;
    const { assert!(Is::<Hyper<Incoming>, Request<Incoming>>::SERVICE) };
    const { assert!(Is::<Chain<Full<Bytes>>, Request<Full<Bytes>>>::SERVICE) };
    const { assert!(Is::<Chain<Full<Bytes>>, ()>::MADE_BY_DEFAULT) };
    const { assert!(!Is::<Chain<Incoming>, ()>::MADE_BY_DEFAULT) };
}

/// Makes a call, and drops it once it has reached `a`.
async fn walk_away(pair: &Pair, a: &Server, requests: usize) {
    let chain = pair.chain.clone();
    let call = tokio::spawn(async move { get(&chain).await });
    a.is_reached_by(requests).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
}

/// Whether `S` is a service for `Req`, and whether it has a default.
struct Is<S, Req>(PhantomData<(S, Req)>);

impl<S: Service<Req>, Req> Is<S, Req> {
    const SERVICE: bool = true;
}

impl<S: Default, Req> Is<S, Req> {
    const MADE_BY_DEFAULT: bool = true;
}

/// Applies if `S` has no default.
trait Otherwise {
    const MADE_BY_DEFAULT: bool = false;
}

impl<S, Req> Otherwise for Is<S, Req> {}
