//! A provider that cannot be reached, does not answer, or answers 503.

use std::{
    future::ready,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    vec,
};

use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, dns::Name};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use tower::{Layer, service_fn, timeout::TimeoutLayer};
use tower_health::{Cause, Policy, State};

use crate::{
    pair::{
        Answer, HttpClient, MILLISECOND, PATIENCE, Pair, client, client_of, client_of_nobody, get,
        open_for, root,
    },
    server::{Script, Server},
};

/// Row 32, at ten times the rate: fifty calls a second, whether or not earlier ones have ended.
#[tokio::test]
async fn only_calls_before_the_trip_and_one_trial_a_window_pay_the_timeout() {
    let window = 300 * MILLISECOND;
    let a = Server::start(|_| Script::default().hang());
    let hurried = TimeoutLayer::new(100 * MILLISECOND).layer(client_of(&a));
    let mut pair = Pair::new(open_for(window), hurried);

    let mut calls = JoinSet::new();
    let mut ticks = interval(20 * MILLISECOND);
    for _ in 0..75 {
        ticks.tick().await;
        let chain = pair.chain.clone();
        calls.spawn(async move { (Instant::now(), get(&chain).await.unwrap()) });
    }
    let calls = calls.join_all().await;
    let history = pair.transitions();

    let refused = Answer::from_b(&["a: circuit open"]);
    let (refused, tried): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .partition(|(_, answer)| *answer == refused);
    for (_, answer) in &tried {
        assert_eq!(*answer, Answer::from_b(&["a: request timed out"]));
    }
    assert_eq!(a.requests(), tried.len());

    let tripped = history.first().at;
    assert!(refused.iter().all(|(started, _)| *started > tripped));
    let trials = tried.iter().filter(|(started, _)| *started > tripped);
    let reopened = history.count(State::HalfOpen, State::Open);
    assert_eq!(trials.count(), reopened);
    assert!(reopened >= 1);
    assert!(history.windows().iter().all(|took| *took == window));
}

/// Row 33.
#[tokio::test]
async fn a_refused_connection_is_failed_over_at_once() {
    assert_failed_over_at_once(client_of_nobody(), "Connection refused").await;
}

/// Row 33. No DNS query leaves this machine.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_failed_over_at_once() {
    let look_ups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&look_ups);
    let resolver = service_fn(move |_: Name| {
        counted.fetch_add(1, SeqCst);
        ready(Err::<vec::IntoIter<SocketAddr>, _>(io::Error::other(
            "no such host",
        )))
    });
    let connector = HttpConnector::new_with_resolver(resolver);
    let client = client(connector, "http://a.invalid");
    assert_failed_over_at_once(client, "no such host").await;
    assert_eq!(look_ups.load(SeqCst), 2);
}

/// Row 33.
#[tokio::test]
async fn a_tls_port_without_tls_is_failed_over_at_once() {
    let a = Server::start(|_| Script::status("400 Bad Request"));
    let client = client(tls(), &format!("https://{}", a.address()));
    let cause = "received corrupt message of type InvalidContentType";
    assert_failed_over_at_once(client, cause).await;
    assert_eq!(a.requests(), 2);
}

/// Row 33.
#[tokio::test]
async fn a_broken_tls_handshake_is_failed_over_at_once() {
    let a = Server::start(|_| Script::default().send(HANDSHAKE_FAILURE));
    let client = client(tls(), &format!("https://{}", a.address()));
    assert_failed_over_at_once(client, "HandshakeFailure").await;
    assert_eq!(a.requests(), 2);
}

/// Row 33.
#[tokio::test]
async fn a_port_that_wants_tls_is_failed_over_at_once() {
    let a = Server::start(|_| Script::default().send(HANDSHAKE_FAILURE));
    assert_failed_over_at_once(client_of(&a), "invalid HTTP version parsed").await;
    assert_eq!(a.requests(), 2);
}

/// Row 34.
#[tokio::test]
async fn one_503_is_served_by_b_and_opens_nothing() {
    let a = Server::start(|_| Script::status("503 Service Unavailable"));
    let mut pair = Pair::of(&a);

    assert_eq!(pair.get().await, Answer::from_b(&["a: 503"]));
    assert_eq!(pair.a.health().consecutive_failures, 1);
    assert_eq!(pair.state_of_a(), State::Closed);

    a.becomes(|_| Script::well("a"));
    assert_eq!(pair.get().await, Answer::from_a());
    assert_eq!(pair.a.health().consecutive_failures, 0);
    assert_eq!((a.requests(), pair.b.requests()), (2, 1));
    assert_eq!(pair.transitions().len(), 0);
}

/// A fatal TLS alert.
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Asserts that two calls fail over at once, and that the breaker then opens.
async fn assert_failed_over_at_once(client_of_a: impl HttpClient<Incoming>, cause: &str) {
    let pair = Pair::new(Policy::new(), client_of_a);
    let start = Instant::now();
    let failed = format!("a: {cause}");
    for attempt in [&failed, &failed, "a: circuit open"] {
        assert_eq!(pair.get().await, Answer::from_b(&[attempt]));
    }
    assert!(start.elapsed() < PATIENCE / 10);

    let health = pair.a.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(root(&health.last_error.unwrap()), cause);
    assert_eq!(pair.b.requests(), 3);
}

/// Has no root certificates, because no server sends a certificate.
fn tls() -> HttpsConnector<HttpConnector> {
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build()
}
