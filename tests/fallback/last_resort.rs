//! When exhausted, the chain tries an open provider.

use std::{error::Error, time::Duration};

use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Service, ServiceExt};
use tower_health::{Exhausted, FallbackChain, HealthCache, Override, State};

use crate::{Counted, MINUTE, SECOND, Stub, ask, ask_at_once, chain_of, lines, no_provider, stubs};

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_tries_an_open_provider_once() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(a.calls(), 1);
    assert_eq!(a.provider().health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn last_resort_that_fails_is_an_attempt_of_its_own() {
    let [a, b] = stubs();
    a.open();
    a.fails("still down");
    b.fails("timeout");
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`b`: timeout", "`a`: still down"]
    );
    assert_eq!(error.retry_in, Some(MINUTE));
    assert_eq!(error.source().unwrap().to_string(), "still down");
}

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_tries_a_provider_once_a_second() {
    let [a] = stubs();
    a.open();
    a.fails("still down");
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);
    for _ in 0..100 {
        no_provider(ask(&chain).await);
        advance(SECOND / 10).await;
    }
    assert_eq!(a.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn last_resort_takes_the_first_that_grants_a_trial() {
    let [throttled, forced, willing, never_needed] = stubs();
    throttled.throttled_for(MINUTE);
    let ttl = 10 * MINUTE;
    forced.provider().force(Override::Open, ttl, "maintenance");
    willing.open();
    never_needed.open();
    let chain = chain_of([&throttled, &forced, &willing, &never_needed])
        .when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "c");
    assert_eq!(
        [&throttled, &forced, &willing, &never_needed].map(Stub::calls),
        [0, 0, 1, 0]
    );
}

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_never_comes_before_a_time_that_the_provider_named() {
    let [a] = stubs();
    a.throttled_for(7 * SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    let error = no_provider(ask(&chain).await);
    assert_eq!(error.retry_in, Some(7 * SECOND));
    advance(Duration::from_millis(6_999)).await;
    no_provider(ask(&chain).await);
    assert_eq!(a.calls(), 0);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&chain).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn last_resort_of_80_callers_is_one_call() {
    let [a] = stubs();
    a.open();
    a.serves_after(SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask_at_once(80, &chain).await, [("a", 1)]);
    assert_eq!(a.calls(), 1);
}

/// The entry's provider and the stack's have the same id but separate breakers: one admits, the other refuses.
#[tokio::test(start_paused = true)]
async fn last_resort_that_is_refused_ends_the_chain() {
    let [a] = stubs();
    a.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .when_exhausted(Exhausted::LastResort);

    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
}

/// The first provider comes back while the rest of the chain is tried.
#[tokio::test(start_paused = true)]
async fn last_resort_is_the_provider_that_has_come_back_by_then() {
    let [a, b] = stubs();
    a.open_for(SECOND);
    b.fails_after(2 * SECOND, "timeout");
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn second_chances_count_as_attempts() {
    for exhausted in [Exhausted::LastResort, Exhausted::Wait(2 * MINUTE)] {
        let [a, b] = stubs();
        a.open();
        b.fails("timeout");
        let chain = chain_of([&a, &b]).max_attempts(1).when_exhausted(exhausted);

        no_provider(ask(&chain).await);
        assert_eq!([&a, &b].map(Stub::calls), [0, 1]);
    }
}

/// A bad request that every provider fails must not lock out all of them.
#[tokio::test(start_paused = true)]
async fn last_resort_is_the_default() {
    let [a, b] = stubs();
    for stub in [&a, &b] {
        stub.fails("what a request");
    }
    let chain = chain_of([&a, &b]);
    for _ in 0..2 {
        no_provider(ask(&chain).await);
    }
    assert!(!a.provider().is_healthy() && !b.provider().is_healthy());

    for stub in [&a, &b] {
        stub.serves();
    }
    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(Exhausted::default(), Exhausted::LastResort);
}

/// The entry's provider grants a trial, but the first stack's own breaker refuses it.
#[tokio::test(start_paused = true)]
async fn last_resort_that_is_refused_leaves_it_to_the_next() {
    let [a, b] = stubs();
    a.open();
    b.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .entry(b.provider(), b.stack());

    let request = Counted::default();
    assert_eq!(chain.oneshot(request.handle()).await.unwrap(), "b");
    assert_eq!((a.calls(), b.calls()), (0, 1));
}

/// The last entry took the request itself, and its layer refuses it after the chain's check.
#[tokio::test(start_paused = true)]
async fn last_resort_needs_a_request_that_is_left() {
    let [a] = stubs();
    a.is_half_open().await;
    a.is_unready();
    let request = Counted::default();
    let mut call = task::spawn(chain_of([&a]).call(request.handle()));
    assert_pending!(call.poll());

    let trial = a.provider().admit().unwrap();
    a.serves();
    let error = no_provider(Err(assert_ready_err!(call.poll())));
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
    assert_eq!(request.clones(), 0);
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn expired_deadline_spends_no_trial() {
    let [a, b] = stubs();
    a.open();
    b.fails_after(SECOND, "timeout");
    let mut call = task::spawn(chain_of([&a, &b]).deadline(2 * SECOND).call(()));
    assert_pending!(call.poll());
    advance(5 * SECOND).await;

    let error = no_provider(Err(assert_ready_err!(call.poll())));
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`b`: timeout (after 5.0s)"]
    );
    assert_eq!(a.provider().health().state, State::Open);
}

/// Two models of one provider share its breaker, and its outages.
#[tokio::test(start_paused = true)]
async fn provider_that_is_listed_twice_is_skipped_twice_and_granted_one_trial() {
    let [a] = stubs();
    a.fails("down");
    let chain = chain_of([&a, &a]);
    no_provider(ask(&chain).await);
    assert_eq!(a.calls(), 2);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`a`: circuit open", "`a`: down"]
    );
}
