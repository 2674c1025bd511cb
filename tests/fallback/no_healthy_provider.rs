//! The error of a chain in which no provider served.

use std::{error::Error, time::Duration};

use tokio::time::{Instant, advance};
use tower::ServiceExt;
use tower_health::Exhausted;

use crate::{SECOND, ask, chain_of, no_provider, stubs};

/// Scenario 47.
#[tokio::test(start_paused = true)]
async fn every_attempt_is_listed_in_order_with_reason_and_time() {
    let [a, b, c, d] = stubs();
    a.open();
    b.fails_after(Duration::from_millis(1_200), "timeout");
    d.open_for(20 * SECOND);
    let chain = chain_of([&a, &b])
        .entry_if(c.provider(), c.stack(), |()| false)
        .entry(d.provider(), d.stack())
        .when_exhausted(Exhausted::Fail);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        error.to_string(),
        "no healthy provider: `a`: circuit open, `b`: timeout (after 1.2s), `c`: not eligible, \
         `d`: circuit open; retry in 18.8s"
    );
    assert_eq!(error.retry_in, Some(Duration::from_millis(18_800)));
    assert_eq!(
        error
            .attempts
            .iter()
            .map(|it| it.elapsed)
            .collect::<Vec<_>>(),
        [0, 1200, 0, 0].map(Duration::from_millis)
    );
    assert_eq!(error.source().unwrap().to_string(), "timeout");
}

#[tokio::test(start_paused = true)]
async fn retry_in_is_of_those_that_refused_alone() {
    let [a, b] = stubs();
    a.fails("timeout");
    b.fails("timeout");
    let chain = chain_of([&a, &b]);

    assert_eq!(no_provider(ask(&chain).await).retry_in, None);
    // The second failure opens both breakers, but neither has refused a call.
    assert_eq!(no_provider(ask(&chain).await).retry_in, None);
    advance(15 * SECOND).await;
    assert_eq!(no_provider(ask(&chain).await).retry_in, Some(45 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_was_called_leaves_nothing_as_source() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Fail);
    assert!(no_provider(ask(&chain).await).source().is_none());
}

#[tokio::test(start_paused = true)]
async fn chain_without_entries_says_so() {
    let error = no_provider(chain_of([]).oneshot(()).await);
    assert!(error.attempts.is_empty());
    assert_eq!(error.retry_in, None);
    assert_eq!(
        error.to_string(),
        "no healthy provider: the chain has no entries"
    );
}

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn only_provider_that_is_open_fails_at_once_with_the_exact_wait() {
    let [a] = stubs();
    a.open();
    advance(Duration::from_millis(12_345)).await;

    let chain = chain_of([&a]).when_exhausted(Exhausted::Fail);
    let before = Instant::now();
    let error = no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(error.retry_in, Some(Duration::from_millis(60_000 - 12_345)));
    assert_eq!(a.calls(), 0);
}
