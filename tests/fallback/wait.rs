//! When exhausted, the chain waits for a provider to come back.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Service, ServiceExt};
use tower_health::{Exhausted, FallbackChain, HealthCache};

use crate::{MINUTE, SECOND, ask, ask_at_once, chain_of, lines, no_provider, stubs};

#[tokio::test(start_paused = true)]
async fn wait_tries_the_first_provider_to_come_back() {
    let [a, b] = stubs();
    a.open();
    b.open_for(5 * SECOND);
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::Wait(MINUTE));
    let before = Instant::now();

    assert_eq!(ask(&chain).await.unwrap(), "b");
    assert_eq!(before.elapsed(), 5 * SECOND);
    assert_eq!(a.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_early_when_the_breaker_closes() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(MINUTE));
    let mut call = task::spawn(chain.clone().call(()));
    assert_pending!(call.poll());
    advance(SECOND).await;
    assert!(!call.is_woken());

    a.provider().mark_healthy();
    assert!(call.is_woken());
    assert_eq!(assert_ready_ok!(call.poll()), "a");
}

#[tokio::test(start_paused = true)]
async fn wait_is_no_longer_than_its_bound() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(7 * SECOND));
    let before = Instant::now();

    let error = no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), 7 * SECOND);
    assert_eq!(error.retry_in, Some(53 * SECOND));
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
}

#[tokio::test(start_paused = true)]
async fn wait_is_no_longer_than_the_deadline() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a])
        .when_exhausted(Exhausted::Wait(MINUTE))
        .deadline(3 * SECOND);
    let before = Instant::now();

    let error = no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), 3 * SECOND);
    assert_eq!(error.retry_in, Some(57 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn wait_is_for_nothing_where_no_breaker_refused() {
    let [a] = stubs();
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(MINUTE));
    let before = Instant::now();

    no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn try_after_the_wait_is_the_last() {
    let [a] = stubs();
    a.open_for(5 * SECOND);
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(10 * MINUTE));

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`a`: timeout"]
    );
    assert_eq!(error.retry_in, Some(5 * SECOND));
    assert_eq!(a.calls(), 1);
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn wait_of_100_callers_is_no_stampede() {
    let [a] = stubs();
    a.open();
    a.serves_after(2 * SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(2 * MINUTE));
    let callers = tokio::spawn(async move { ask_at_once(100, &chain).await });

    sleep(MINUTE + SECOND).await;
    assert_eq!((a.running(), a.calls()), (1, 1));
    // The trial closes the breaker, and all other callers are served.
    assert_eq!(callers.await.unwrap(), [("a", 100)]);
    assert_eq!(a.calls(), 100);
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn failed_trial_keeps_the_other_99_waiting() {
    let [a] = stubs();
    a.open();
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(5 * MINUTE + SECOND));
    let served = ask_at_once(100, &chain).await;

    // One trial in each window, until all callers give up.
    assert!(served.is_empty());
    assert_eq!(a.calls(), 5);
}

/// While the caller's service gets ready, another call takes the slot.
#[tokio::test(start_paused = true)]
async fn caller_who_is_overtaken_waits_on() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(2 * MINUTE));
    let mut call = task::spawn(chain.clone().call(()));
    assert_pending!(call.poll());
    a.is_unready();
    advance(MINUTE).await;
    assert_pending!(call.poll());

    let trial = a.provider().admit().unwrap();
    a.serves();
    assert_pending!(call.poll());
    assert_eq!(a.calls(), 0);
    trial.success();
    assert_eq!(call.await.unwrap(), "a");
}

/// The entry's provider and the stack's have the same id but separate breakers: one admits, the other refuses.
#[tokio::test(start_paused = true)]
async fn wait_for_a_breaker_that_is_not_the_stacks_own_ends_too() {
    let [a] = stubs();
    a.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .when_exhausted(Exhausted::Wait(SECOND));
    let before = Instant::now();

    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(before.elapsed(), SECOND);
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
    assert_eq!(error.retry_in, Some(Duration::ZERO));
}
