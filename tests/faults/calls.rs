use std::{
    future::{Pending, pending, ready},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use tokio::time::advance;
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, service_fn, util::BoxService};
use tower_health::{
    BoxError, Classify, HealthCache, HealthLayer, Key, KeyedHealthLayer, Outcome, Permit, Policy,
    Reason, State,
};
use tower_test::mock::Spawn;

use crate::{
    PAUSE, Part, Readiness, Rig, StrikesInClone, StrikesInDrop, Untellable, answer, call,
    costs_one_trial, give_up, layer, strike,
};

type Answer = Result<(), BoxError>;

// Services.

#[tokio::test(start_paused = true)]
async fn panic_in_poll_ready_costs_no_more_than_its_call() {
    costs_one_trial(|rig| call(rig, Readiness(|| strike()))).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_call_costs_no_more_than_its_call() {
    let strikes = service_fn(|()| -> Pending<Answer> { strike() });
    costs_one_trial(|rig| call(rig, strikes)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_future_costs_no_more_than_its_call() {
    let strikes = service_fn(async |()| -> Answer { strike() });
    costs_one_trial(|rig| call(rig, strikes)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_the_future_costs_no_more_than_its_call() {
    let strikes = service_fn(async |()| {
        let _in_drop = StrikesInDrop::default();
        pending::<Answer>().await
    });
    costs_one_trial(|rig| call(rig, strikes)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_the_service_costs_no_more_than_its_call() {
    let in_drop = StrikesInDrop::default();
    let strikes = service_fn(move |()| {
        let _ = &in_drop;
        pending::<Answer>()
    });
    costs_one_trial(|rig| call(rig, strikes)).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_clone_of_the_service_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let service = layer(rig).layer(StrikesInClone);
        drop(service.clone());
    })
    .await;
}

/// More layers than a thread tracks without an allocation.
#[tokio::test(start_paused = true)]
async fn panic_beneath_many_layers_leaves_none_of_them_behind() {
    let cache = HealthCache::default();
    let layers = (0..12).map(|id| HealthLayer::new(cache.provider(id.to_string())));
    let layers: Vec<_> = layers.collect();
    costs_one_trial(|rig| {
        let mut stack = BoxService::new(service_fn(async |()| -> Answer { strike() }));
        for layer in &layers {
            stack = BoxService::new(layer.layer(stack));
        }
        call(rig, stack);
    })
    .await;
    for layer in layers {
        give_up(layer.layer(answer(Err("down"))), ());
    }
    let rows = cache.snapshot().providers;
    assert!(rows.iter().all(|row| row.consecutive_failures == 1));
}

#[tokio::test(start_paused = true)]
async fn service_that_has_panicked_is_called_again() {
    let rig = Rig::half_open(Policy::new()).await;
    let mut has_struck = false;
    let inner = service_fn(move |()| {
        if !mem::replace(&mut has_struck, true) {
            strike();
        }
        async { Answer::Ok(()) }
    });
    let mut service = Spawn::new(layer(&rig).layer(inner));
    assert_ready_ok!(service.poll_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| service.call(()))).is_err());

    advance(PAUSE).await;
    assert_ready_ok!(service.poll_ready());
    assert_ready_ok!(task::spawn(service.call(())).poll());
    assert_eq!(rig.state(), State::Closed);
}

// Requests, and the callers that make them.

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_a_refused_request_costs_no_more_than_its_call() {
    let inner = service_fn(async |_: StrikesInDrop| Answer::Ok(()));
    costs_one_trial(|rig| {
        let _trial = rig.trial();
        give_up(layer(rig).layer(inner), StrikesInDrop::default());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_caller_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let _permit = rig.trial();
        strike();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_telling_the_reason_costs_no_more_than_its_call() {
    struct Unspeakable;
    impl From<Unspeakable> for Reason {
        fn from(_: Unspeakable) -> Self {
            strike()
        }
    }
    costs_one_trial(|rig| rig.trial().failure(Unspeakable)).await;
    costs_one_trial(|rig| rig.mark_unhealthy(Unspeakable)).await;
}

// Errors.

#[tokio::test(start_paused = true)]
async fn panic_in_any_part_of_an_error_costs_no_more_than_its_call() {
    for part in Part::ALL {
        let fails = service_fn(move |()| ready(Err(Untellable(part).into())));
        costs_one_trial(|rig| call(rig, fails)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn panic_in_any_part_of_an_error_of_readiness_costs_no_more_than_its_call() {
    for part in Part::ALL {
        let fails = Readiness(|| Poll::Ready(Err(Untellable(part).into())));
        costs_one_trial(|rig| call(rig, fails)).await;
    }
}

// Classifiers.

fn judge_by<C>(layer: &HealthLayer<C>)
where
    C: Classify<(), BoxError> + Clone,
{
    let mut service = layer.layer(answer(Ok(())));
    give_up(&mut service, ());
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_classifier_costs_no_more_than_its_call() {
    #[derive(Clone)]
    struct Strikes;
    impl<Res, E> Classify<Res, E> for Strikes {
        type Response = Res;

        fn classify(&self, _: Result<Res, E>, _permit: Permit) -> Result<Res, E> {
            strike()
        }
    }
    costs_one_trial(|rig| judge_by(&layer(rig).classify(Strikes))).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_classifying_closure_costs_no_more_than_its_call() {
    let strikes = |_: Result<&(), &BoxError>| strike();
    costs_one_trial(|rig| judge_by(&layer(rig).classify_with(strikes))).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_clone_of_the_classifier_costs_no_more_than_its_call() {
    /// Strikes in its second clone, which is the call's; the first is the service's.
    struct Strikes(Arc<AtomicUsize>);
    impl Clone for Strikes {
        fn clone(&self) -> Self {
            if self.0.fetch_add(1, SeqCst) == 1 {
                strike();
            }
            Self(Arc::clone(&self.0))
        }
    }
    let strikes = Strikes(Arc::default());
    let neutral = move |_: Result<&(), &BoxError>| {
        let _ = &strikes;
        Outcome::Neutral
    };
    costs_one_trial(|rig| judge_by(&layer(rig).classify_with(neutral))).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_the_classifier_costs_no_more_than_its_call() {
    let in_drop = StrikesInDrop::default();
    let neutral = move |_: Result<&(), &BoxError>| {
        let _ = &in_drop;
        Outcome::Neutral
    };
    costs_one_trial(|rig| judge_by(&layer(rig).classify_with(neutral))).await;
}

// Keys.

#[tokio::test(start_paused = true)]
async fn panic_in_the_key_costs_no_more_than_its_call() {
    costs_one_trial(|rig| {
        let layer = HealthLayer::keyed(&rig.cache, |(): &()| strike());
        give_up(layer.layer(answer(Ok(()))), ());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_key_after_admission_costs_no_more_than_its_call() {
    #[derive(Clone)]
    struct Strikes;
    impl Key<()> for Strikes {
        fn with_key<R>(&self, (): &(), look_up: impl FnOnce(&str) -> R) -> R {
            let _admitted = look_up(Rig::ID);
            strike()
        }
    }
    costs_one_trial(|rig| {
        let layer = KeyedHealthLayer::new(&rig.cache, Strikes);
        give_up(layer.layer(answer(Ok(()))), ());
    })
    .await;
}
