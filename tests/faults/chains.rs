use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tower::{Service, service_fn};
use tower_health::{BoxError, Exhausted, FallbackChain, Policy};

use crate::{
    Rig, StrikesInClone, StrikesInDrop, answer, assert_well, costs_one_trial, give_up, strike,
};

type Answer = Result<(), BoxError>;

#[tokio::test(start_paused = true)]
async fn panic_in_the_rule_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let strikes = chain(rig, answer(Ok(()))).advance_when(|_| strike());
        give_up(strikes, ());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_predicate_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let strikes = chain(rig, answer(Err("down"))).entry_if(
            rig.cache.provider("c"),
            answer(Ok(())),
            |()| strike(),
        );
        give_up(strikes, ());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_clone_of_the_request_costs_no_more_than_its_call() {
    let answers = service_fn(async |_: StrikesInClone| Answer::Ok(()));
    costs_one_trial(|rig| give_up(chain(rig, answers), StrikesInClone)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_an_unwanted_response_costs_no_more_than_its_call() {
    let answers = service_fn(async |()| Ok::<_, BoxError>(StrikesInDrop::default()));
    costs_one_trial(|rig| give_up(chain(rig, answers).advance_when(|_| true), ())).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_clone_of_the_service_costs_no_more_than_its_call() {
    costs_one_trial(|rig| give_up(chain_of(rig, strikes_in_clone()), ())).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_the_clone_costs_no_more_than_its_call() {
    let in_drop = StrikesInDrop::default();
    let answers = service_fn(move |()| {
        let _ = &in_drop;
        ready(Answer::Ok(()))
    });
    costs_one_trial(|rig| give_up(&mut chain_of(rig, answers), ())).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_last_resort_leaves_the_trial_that_was_granted_to_the_next_call() {
    let rig = Rig::open(Policy::new());
    let strikes = chain_of(&rig, strikes_in_clone()).when_exhausted(Exhausted::LastResort);
    assert!(catch_unwind(AssertUnwindSafe(|| give_up(strikes, ()))).is_err());
    assert_well(&rig);
}

fn strikes_in_clone() -> impl Service<(), Response = (), Error = BoxError> + Clone {
    let in_clone = StrikesInClone;
    service_fn(move |()| {
        let _ = &in_clone;
        ready(Ok(()))
    })
}

fn chain_of<S, Req>(rig: &Rig, service: S) -> FallbackChain<S, Req>
where
    S: Clone,
    Req: Clone,
{
    FallbackChain::new().entry(rig.provider.clone(), service)
}

/// A chain of the half-open provider and another.
fn chain<S, Req>(rig: &Rig, service: S) -> FallbackChain<S, Req>
where
    S: Clone,
    Req: Clone,
{
    chain_of(rig, service.clone()).entry(rig.cache.provider("b"), service)
}
