//! When exhausted, the chain calls open providers as if they were closed.

use std::error::Error;

use tokio::{task::JoinSet, time::Instant};
use tower::{Layer, ServiceExt, buffer::Buffer, util::BoxCloneSyncService};
use tower_health::{
    Backoff, BoxError, Exhausted, FallbackChain, HealthLayer, Outcome, Override, Policy, State,
    Trials,
};

use crate::{MINUTE, SECOND, Stub, ask, ask_at_once, chain_of, lines, no_provider, stubs};

#[tokio::test(start_paused = true)]
async fn where_all_fail_open_every_call_is_made() {
    let [a, b] = stubs();
    for stub in [&a, &b] {
        stub.open();
        stub.serves_after(SECOND / 10);
    }
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::FailOpen);

    assert_eq!(ask_at_once(100, &chain).await, [("a", 100)]);
    // One of the calls was a trial.
    assert_eq!(a.provider().health().state, State::Closed);
    assert_eq!(b.provider().health().state, State::Open);
}

/// The last entry is called whatever its provider's health.
#[tokio::test(start_paused = true)]
async fn last_entry_without_a_layer_is_called_whatever_happens() {
    let [a, anyway] = stubs();
    a.open();
    for stub in [&a, &anyway] {
        stub.serves_after(SECOND / 10);
    }
    let chain = FallbackChain::new()
        .entry(a.provider(), BoxCloneSyncService::new(a.stack()))
        .entry(anyway.provider(), BoxCloneSyncService::new(anyway.clone()));
    let calls = (0..100).map(|_| chain.clone().oneshot(()));
    let results = calls.collect::<JoinSet<_>>().join_all().await;
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn fail_open_calls_in_order_and_tells() {
    let [a, b, c] = stubs();
    for (stub, error) in [(&a, "timeout"), (&b, "reset")] {
        stub.open();
        stub.fails(error);
    }
    c.open();
    let chain = chain_of([&a, &b, &c]).when_exhausted(Exhausted::FailOpen);
    assert_eq!(ask(&chain).await.unwrap(), "c");

    c.fails("refused");
    c.open();
    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        [
            "`a`: circuit open",
            "`b`: circuit open",
            "`c`: circuit open",
            "`a`: timeout",
            "`b`: reset",
            "`c`: refused",
        ]
    );
    assert_eq!(error.source().unwrap().to_string(), "refused");
}

/// Rule 2: calls made without a slot decide nothing; only the trial of each second does.
#[tokio::test(start_paused = true)]
async fn fail_open_lengthens_no_outage_but_by_its_trial() {
    let [a] = stubs();
    let backoff = Backoff::exponential(MINUTE, 60 * MINUTE);
    a.provider().set_policy(Policy::new().backoff(backoff));
    a.open();
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::FailOpen);
    for _ in 0..50 {
        no_provider(ask(&chain).await);
    }
    assert_eq!(a.calls(), 50);
    assert_eq!(a.provider().health().failed_trials, 1);
}

#[tokio::test(start_paused = true)]
async fn fail_open_is_a_last_resort_where_one_refuses_for_something_else() {
    for refuse in [
        (|stub: &Stub| stub.throttled_for(MINUTE)) as fn(&Stub),
        |stub| {
            let ttl = 10 * MINUTE;
            stub.provider().force(Override::Open, ttl, "maintenance");
        },
        |stub| {
            for _ in 0..2 {
                stub.provider().admit().unwrap().record(Outcome::Failure {
                    reason: "down".into(),
                    retry_after: Some(MINUTE),
                });
            }
        },
    ] {
        let [a, b] = stubs();
        refuse(&a);
        b.open();
        b.serves_after(SECOND / 10);
        let chain = chain_of([&a, &b]).when_exhausted(Exhausted::FailOpen);

        assert_eq!(ask_at_once(100, &chain).await, [("b", 1)]);
        assert_eq!((a.calls(), b.calls()), (0, 1));
    }
}

/// The provider throttles a call that failed open.
#[tokio::test(start_paused = true)]
async fn fail_open_ends_for_a_provider_that_asks_for_a_pause() {
    let [a] = stubs();
    a.open();
    a.fails("slow down");
    let stack = HealthLayer::new(a.provider())
        .classify_with(|_: Result<&&'static str, &BoxError>| {
            Outcome::throttled(Some(MINUTE), "slow down")
        })
        .layer(a.clone());
    let chain = FallbackChain::new()
        .entry(a.provider(), stack)
        .when_exhausted(Exhausted::FailOpen);
    for _ in 0..5 {
        no_provider(chain.clone().oneshot(()).await);
    }
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn fail_open_keeps_to_deadline_and_max_attempts() {
    let [a, b, c] = stubs();
    for stub in [&a, &b, &c] {
        stub.open();
        stub.fails_after(SECOND, "timeout");
    }
    let chain = chain_of([&a, &b, &c]).when_exhausted(Exhausted::FailOpen);
    no_provider(ask(&chain.clone().max_attempts(2)).await);
    assert_eq!([&a, &b, &c].map(Stub::calls), [1, 1, 0]);

    let before = Instant::now();
    no_provider(ask(&chain.deadline(SECOND * 3 / 2)).await);
    assert_eq!(before.elapsed(), SECOND * 3 / 2);
    assert_eq!([&a, &b, &c].map(Stub::calls), [2, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn fail_open_makes_no_trial_where_only_checks_may() {
    let [a] = stubs();
    let trials = Trials::default().by_probe_only(true);
    a.provider().set_policy(Policy::new().trials(trials));
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::FailOpen);
    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(a.provider().health().state, State::Open);
}

/// A buffer runs its service in another task, which does not see the chain.
#[tokio::test(start_paused = true)]
async fn fail_open_does_not_reach_through_a_buffer() {
    let [a] = stubs();
    a.open();
    let chain = FallbackChain::new()
        .entry(a.provider(), Buffer::new(a.stack(), 1))
        .when_exhausted(Exhausted::FailOpen);
    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
    assert_eq!(a.calls(), 0);
}

/// Failing open overrides the breaker of one provider only.
#[tokio::test(start_paused = true)]
async fn fail_open_is_for_the_breaker_of_the_entry() {
    let [a, beneath] = stubs();
    a.open();
    beneath.open();
    let stack = HealthLayer::new(a.provider()).layer(beneath.stack());
    let chain = FallbackChain::new()
        .entry(a.provider(), stack)
        .when_exhausted(Exhausted::FailOpen);
    no_provider(chain.oneshot(()).await);
    assert_eq!(beneath.calls(), 0);
}
