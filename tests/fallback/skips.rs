//! Providers that are skipped, and why.

use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Layer, Service, ServiceExt};
use tower_health::{FallbackChain, HealthLayer, error::CircuitOpen};

use crate::{ask, chain_of, lines, no_provider, stubs};

#[tokio::test(start_paused = true)]
async fn open_provider_is_skipped_without_being_cloned_or_polled() {
    let [a, b] = stubs();
    a.open();
    let chain = chain_of([&a, &b]);
    let clones = a.clones();

    assert_eq!(ask(&chain).await.unwrap(), "b");
    assert_eq!((a.clones(), a.polls(), a.calls()), (clones, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn mismatch_skips_and_says_so() {
    let [small, large] = stubs();
    large.fails("overloaded");
    let chain = FallbackChain::new()
        .entry_if(small.provider(), small.stack(), |prompt: &String| {
            prompt.len() < 10
        })
        .entry(large.provider(), large.stack());

    assert_eq!(chain.clone().oneshot("short".into()).await.unwrap(), "a");
    let error = no_provider(chain.oneshot("far too long".into()).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: not eligible", "`b`: overloaded"]
    );
    assert_eq!(small.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn mismatch_behind_the_last_try_is_listed_too() {
    let [a, b] = stubs();
    a.fails("overloaded");
    let chain = chain_of([&a]).entry_if(b.provider(), b.stack(), |()| false);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: overloaded", "`b`: not eligible"]
    );
}

/// Many callers find one slot free; the layer refuses all but one of them after the chain's check.
#[tokio::test(start_paused = true)]
async fn refusal_between_check_and_call_is_a_skip_whatever_the_rule_says() {
    let [a, b] = stubs();
    a.is_half_open().await;
    a.is_unready();
    b.fails("timeout");
    let chain = chain_of([&a, &b]).advance_when(|_| false).max_attempts(1);
    let mut call = task::spawn(chain.clone().call(()));
    assert_pending!(call.poll());

    let trial = a.provider().admit().unwrap();
    a.serves();
    // The refusal is neither returned nor counted as the only attempt.
    assert_eq!(assert_ready_err!(call.poll()).to_string(), "timeout");
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_another_provider_is_judged_by_the_rule() {
    let [a, inner] = stubs();
    inner.open();
    let stack = HealthLayer::new(a.provider()).layer(inner.stack());
    let chain = FallbackChain::new()
        .entry(a.provider(), stack)
        .advance_when(|_| false);

    let error = chain.oneshot(()).await.unwrap_err();
    assert_eq!(error.downcast::<CircuitOpen>().unwrap().provider(), "b");
}
