//! Boxed stacks, nested chains, and extended chains.

use tokio::time::{Instant, advance};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, retry::RetryLayer, timeout::TimeoutLayer,
    util::BoxCloneSyncService,
};
use tower_health::{Exhausted, FallbackChain, HealthCache, HealthLayer};

use crate::{MINUTE, Retries, SECOND, ask, chain_of, no_provider, stubs};

#[tokio::test(start_paused = true)]
async fn stacks_of_different_types_are_entries_when_boxed() {
    let [a, b] = stubs();
    a.hangs();
    let with_all = ServiceBuilder::new()
        .layer(RetryLayer::new(Retries(1)))
        .layer(HealthLayer::new(a.provider()))
        .layer(TimeoutLayer::new(SECOND))
        .service(a.clone());
    let chain = FallbackChain::new()
        .entry(a.provider(), BoxCloneSyncService::new(with_all))
        .entry(b.provider(), BoxCloneSyncService::new(b.stack()));
    let before = Instant::now();

    // Two calls time out, and the second opens the breaker; then no time is lost.
    assert_eq!(chain.clone().oneshot(()).await.unwrap(), "b");
    assert_eq!((a.calls(), before.elapsed()), (2, 2 * SECOND));
    assert_eq!(chain.clone().oneshot(()).await.unwrap(), "b");
    assert_eq!((a.calls(), before.elapsed()), (2, 2 * SECOND));

    a.serves();
    advance(MINUTE).await;
    assert_eq!(chain.oneshot(()).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn chain_is_an_entry_of_another() {
    let [a, b, c] = stubs();
    let region = HealthCache::default().provider("eu");
    a.open();
    b.fails("timeout");
    let eu = chain_of([&a, &b]).when_exhausted(Exhausted::Fail);
    let eu = HealthLayer::new(region.clone()).layer(eu);
    let chain = FallbackChain::new()
        .entry(region, BoxCloneSyncService::new(eu))
        .entry(c.provider(), BoxCloneSyncService::new(c.stack()));

    assert_eq!(chain.oneshot(()).await.unwrap(), "c");
}

#[tokio::test(start_paused = true)]
async fn clone_that_is_extended_leaves_the_original_as_it_was() {
    let [a, b] = stubs();
    a.open();
    let short = chain_of([&a]).when_exhausted(Exhausted::Fail);
    let long = short.clone().entry(b.provider(), b.stack());

    assert_eq!(ask(&long).await.unwrap(), "b");
    no_provider(ask(&short).await);
}

#[test]
fn debug_names_the_providers() {
    let [a] = stubs();
    let chain = chain_of::<(), 1>([&a]).deadline(SECOND);
    let shown = format!("{chain:?} {:?}", chain.clone().advance_when(|_| true));
    for part in [
        "\"a\"",
        "ErrorsAdvance",
        "AdvanceWhen",
        "deadline: Some(1s)",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let call = chain_of::<(), 1>([&a]).call(());
    assert_eq!(format!("{call:?}"), "FallbackFuture { .. }");
}
