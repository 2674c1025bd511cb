//! Entries whose stack passes the layers of two providers: an account, and a model of that account.

use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_health::{
    BoxError, Cause, Exhausted, FallbackChain, HealthCache, HealthLayer, Outcome, Provider, State,
};

use crate::{MINUTE, SECOND, Stub, lines, no_provider, stubs_of};

type Chain = FallbackChain<BoxCloneSyncService<(), &'static str, BoxError>, ()>;

/// Classifies for the account, which only a refused key concerns.
fn of_account(result: Result<&&'static str, &BoxError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(error) if error.to_string() == "key refused" => Outcome::fatal("key refused"),
        Err(_) => Outcome::Neutral,
    }
}

/// A chain of models, each inside the layer of its account.
fn chain_of<const N: usize>(models: [(&Provider, &Stub); N]) -> Chain {
    models
        .into_iter()
        .fold(FallbackChain::new(), |chain, (account, model)| {
            let layer = HealthLayer::new(account.clone()).classify_with(of_account);
            let stack = BoxCloneSyncService::new(layer.layer(model.stack()));
            chain.entry([account.clone(), model.provider()], stack)
        })
}

async fn ask(chain: &Chain) -> Result<&'static str, BoxError> {
    chain.clone().oneshot(()).await
}

fn open(provider: &Provider) {
    provider.mark_unhealthy("down");
    provider.mark_unhealthy("down");
    assert!(!provider.is_healthy());
}

#[tokio::test]
async fn failures_of_one_model_leave_its_sisters_alone() {
    let cache = HealthCache::default();
    let account = cache.provider("account");
    let [a, b] = stubs_of(&cache);
    let chain = chain_of([(&account, &a), (&account, &b)]);
    a.fails("overloaded");
    for _ in 0..3 {
        assert_eq!(ask(&chain).await.unwrap(), "b");
    }
    assert_eq!(a.calls(), 2, "its breaker is open");
    assert_eq!(account.health().state, State::Closed);
}

#[tokio::test]
async fn refused_key_takes_out_all_models_of_the_account() {
    let cache = HealthCache::default();
    let (account, other) = (cache.provider("account"), cache.provider("other"));
    let [a, b, c] = stubs_of(&cache);
    let chain = chain_of([(&account, &a), (&account, &b), (&other, &c)]);
    a.fails("key refused");
    for _ in 0..3 {
        assert_eq!(ask(&chain).await.unwrap(), "c");
    }
    assert_eq!([&a, &b, &c].map(Stub::calls), [1, 0, 3]);
    assert_eq!(
        [&a, &b].map(Stub::polls),
        [1, 0],
        "an account that refuses is skipped"
    );
}

#[tokio::test(start_paused = true)]
async fn refusal_of_the_account_is_no_attempt_and_names_its_time() {
    let cache = HealthCache::default();
    let account = cache.provider("account");
    let [a, b] = stubs_of(&cache);
    let chain = chain_of([(&account, &a), (&account, &b)]).when_exhausted(Exhausted::Fail);
    open(&account);
    advance(SECOND).await;
    b.open();
    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`b`: circuit open"]
    );
    assert_eq!(error.retry_in, Some(59 * SECOND));
    let waits = error.attempts.iter().map(|it| it.retry_in);
    assert_eq!(
        waits.collect::<Vec<_>>(),
        [Some(59 * SECOND), Some(MINUTE)],
        "the longer of both"
    );
    assert_eq!(error.attempts[0].cause, Some(Cause::Failures));
}

#[tokio::test(start_paused = true)]
async fn last_resort_is_a_trial_of_account_and_model() {
    let cache = HealthCache::default();
    let account = cache.provider("account");
    let [a] = stubs_of(&cache);
    let chain = chain_of([(&account, &a)]);
    for opened in [&[&account][..], &[&account, &a.provider()]] {
        for it in opened {
            open(it);
        }
        assert_eq!(ask(&chain).await.unwrap(), "a");
        for provider in opened {
            assert_eq!(provider.health().state, State::Closed);
        }
        advance(2 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn wait_ends_when_both_admit() {
    let cache = HealthCache::default();
    let account = cache.provider("account");
    let [a] = stubs_of(&cache);
    a.open();
    advance(10 * SECOND).await;
    open(&account);
    let chain = chain_of([(&account, &a)]).when_exhausted(Exhausted::Wait(2 * MINUTE));
    let start = Instant::now();
    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(start.elapsed(), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn fail_open_is_a_last_resort_where_the_account_refuses() {
    let cache = HealthCache::default();
    let account = cache.provider("account");
    let [a, b] = stubs_of(&cache);
    let chain = chain_of([(&account, &a), (&account, &b)]).when_exhausted(Exhausted::FailOpen);
    a.fails("down");
    b.fails("down");
    a.open();
    b.open();
    no_provider(ask(&chain).await);
    assert_eq!(
        [&a, &b].map(Stub::calls),
        [1, 1],
        "all models, past their breakers"
    );

    open(&account);
    advance(2 * SECOND).await;
    no_provider(ask(&chain).await);
    assert_eq!([&a, &b].map(Stub::calls), [2, 1], "one trial");
}
