//! Calls through the layer: how they are judged, what the caller receives, and what the provider records.

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    fmt::{self, Debug},
    future::{Pending, Ready, pending, ready},
    io,
    panic::{RefUnwindSafe, UnwindSafe},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::{advance, sleep, timeout};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, service_fn,
    util::BoxCloneSyncService,
};
use tower_health::{
    BoxError, Cause, Classify, ClassifyWith, ErrorsAsFailures, Health, HealthCache, HealthLayer,
    Outcome, Override, Permit, Policy, Provider, Reason, ResponseFuture, State, Throttle, Trip,
    error::{self, CircuitOpen, Kind},
};
use tower_test::mock;

use crate::outage::{OPEN_WINDOW, half_open, trip};

const TRIAL_LEASE: Duration = Duration::from_secs(60);
const TRIAL_PAUSE: Duration = Duration::from_secs(1);

// Errors as failures.

#[tokio::test(start_paused = true)]
async fn errors_count_and_an_answer_ends_the_streak() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());

    failing(&layer).await;
    assert_eq!(provider.health().consecutive_failures, 1);
    assert_eq!(layer.layer(echo()).oneshot("hi").await.unwrap(), "hi");
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_row_trip_with_the_last_as_the_reason() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    failing(&layer).await;
    failing(&layer).await;

    let health = provider.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.last_error.unwrap(), "reset by peer");
}

#[tokio::test(start_paused = true)]
async fn error_of_the_service_comes_through_unchanged() {
    let error = failing(&HealthLayer::new(provider())).await;
    assert_eq!(
        error.downcast::<io::Error>().unwrap().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test(start_paused = true)]
async fn boxed_error_of_the_service_is_not_boxed_again() {
    let fails = service_fn(async |(): ()| Err::<(), BoxError>(reset().into()));
    let error = HealthLayer::new(provider()).layer(fails).oneshot(()).await;
    assert!(error.unwrap_err().is::<io::Error>());
}

#[tokio::test(start_paused = true)]
async fn refusal_says_who_why_and_when_to_come_back() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    failing(&layer).await;
    failing(&layer).await;
    advance(Duration::from_secs(20)).await;

    let refusal = refusal(&layer).await;
    assert_eq!(refusal.provider(), "search");
    assert_eq!(refusal.state(), State::Open);
    assert_eq!(refusal.cause(), Some(Cause::Failures));
    assert_eq!(refusal.retry_in(), Duration::from_secs(40));
    assert_eq!(
        refusal.to_string(),
        "circuit breaker of `search` is open, retry in 40.0s: reset by peer"
    );
    assert_eq!(*refusal.last_error().unwrap(), "reset by peer");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_no_failures() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    failing(&layer).await;
    failing(&layer).await;
    let before = provider.health();
    for _ in 0..10 {
        refusal(&layer).await;
    }
    let after = provider.health();
    assert_eq!(after.consecutive_failures, before.consecutive_failures);
    assert_eq!(after.retry_in, before.retry_in);
}

#[tokio::test(start_paused = true)]
async fn force_holds_where_calls_are_timed_too() {
    let timed = Trip::consecutive(2).cancelled_after(Duration::from_secs(5));
    let cache = HealthCache::new(Policy::new().trip(timed));
    // Many providers, because the state of some must never have changed before.
    for number in 0..100 {
        let provider = cache.provider(number.to_string());
        let mut client = HealthLayer::new(provider.clone()).layer(echo());
        let ready = client.ready().await.unwrap();
        provider.force(Override::Open, Duration::MAX, "maintenance");
        let error = ready.call("hi").await.unwrap_err();
        assert!(error::find::<CircuitOpen>(&*error).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn provider_comes_back_with_one_answered_trial() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    failing(&layer).await;
    failing(&layer).await;
    advance(OPEN_WINDOW).await;

    layer.layer(echo()).oneshot("trial").await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

// Other classifiers.

#[tokio::test(start_paused = true)]
async fn closure_decides_over_errors() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone())
        .classify_with(|_: Result<&&str, &io::Error>| Outcome::Neutral);
    for _ in 0..5 {
        layer.layer(broken()).oneshot("hi").await.unwrap_err();
    }
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn closure_decides_over_answers() {
    let provider = provider();
    let layer =
        HealthLayer::new(provider.clone()).classify_with(|result: Result<&&str, &io::Error>| {
            match result {
                Ok(&"busy") => Outcome::throttled(Some(Duration::from_secs(7)), "busy"),
                Ok(text) => Outcome::failure(format!("unexpected `{text}`")),
                Err(_) => Outcome::Success,
            }
        });

    assert_eq!(layer.layer(echo()).oneshot("what").await.unwrap(), "what");
    let health = provider.health();
    assert_eq!(health.consecutive_failures, 1);
    assert_eq!(health.last_error.unwrap(), "unexpected `what`");

    assert_eq!(layer.layer(echo()).oneshot("busy").await.unwrap(), "busy");
    let health = provider.health();
    assert_eq!(health.cause, Some(Cause::Throttled));
    assert_eq!(health.retry_in, Some(Duration::from_secs(7)));
}

/// The wrapped service determines the closure's types, unless its body needs them earlier.
#[tokio::test(start_paused = true)]
async fn closure_without_annotations_finds_its_types() {
    let layer = HealthLayer::new(provider()).classify_with(|result| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::failure("error"),
    });
    assert_eq!(layer.layer(echo()).oneshot("hi").await.unwrap(), "hi");
}

#[tokio::test(start_paused = true)]
async fn one_layer_with_a_closure_serves_many_services() {
    let judged = Rc::new(Cell::new(0));
    let count = Rc::clone(&judged);
    let layer =
        HealthLayer::new(provider()).classify_with(move |_: Result<&&'static str, &io::Error>| {
            count.set(count.get() + 1);
            Outcome::Success
        });
    layer.clone().layer(echo()).oneshot("one").await.unwrap();
    layer.layer(broken()).oneshot("two").await.unwrap_err();
    assert_eq!(judged.get(), 2);
}

/// Neutral never means success; scenario 7.
#[tokio::test(start_paused = true)]
async fn neutral_trial_frees_its_slot_at_once_and_does_not_close() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone())
        .classify_with(|_: Result<&&str, &io::Error>| Outcome::Neutral);
    half_open(&provider).await;

    layer.layer(echo()).oneshot("trial").await.unwrap();
    assert_eq!(provider.health().state, State::HalfOpen);
    assert!(provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn classifier_may_hand_the_permit_to_the_caller() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone()).classify(PermitInResponse);
    half_open(&provider).await;

    let streaming = layer.layer(echo()).oneshot("trial").await.unwrap();
    assert_eq!(streaming.text, "trial");
    assert!(streaming.permit.is_trial());
    let health = provider.health();
    assert_eq!((health.state, health.healthy), (State::HalfOpen, false));

    streaming.permit.success();
    assert_eq!(provider.health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn verdict_of_a_permit_in_the_response_may_be_a_pause() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone()).classify(PermitInResponse);
    let streaming = layer.layer(echo()).oneshot("hi").await.unwrap();

    let wait = Duration::from_secs(7);
    streaming.permit.throttled(Some(wait), "too many tokens");
    let health = provider.health();
    assert_eq!(health.cause, Some(Cause::Throttled));
    assert_eq!(health.retry_in, Some(wait));
}

/// Rule 4; scenario 5.
#[tokio::test(start_paused = true)]
async fn response_that_is_dropped_with_its_permit_is_neutral() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone()).classify(PermitInResponse);
    half_open(&provider).await;

    drop(layer.layer(echo()).oneshot("trial").await.unwrap());
    let health = provider.health();
    assert_eq!(health.state, State::HalfOpen);
    assert_eq!(health.retry_in, Some(TRIAL_PAUSE));
}

#[tokio::test(start_paused = true)]
async fn released_slot_is_free_while_its_verdict_is_to_come() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone()).classify(PermitInResponse);
    half_open(&provider).await;

    let mut streaming = layer.layer(echo()).oneshot("trial").await.unwrap();
    streaming.permit.release_slot();
    assert!(provider.is_healthy());
    streaming
        .permit
        .failure("reset in the middle of the answer");
    assert_eq!(provider.health().state, State::Open);
}

// Calls that never end, are cancelled, or panic.

/// Rule 11; scenario 45.
#[tokio::test(start_paused = true)]
async fn cancelled_calls_say_nothing() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    for _ in 0..3 {
        let call = layer.layer(hanging()).oneshot(());
        timeout(Duration::from_secs(30), call).await.unwrap_err();
    }
    let health = provider.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 0);
}

/// Rule 11.
#[tokio::test(start_paused = true)]
async fn calls_cancelled_late_are_failures_where_the_policy_says_so() {
    let limit = Duration::from_secs(10);
    let provider = provider();
    provider.set_policy(Policy::new().trip(Trip::consecutive(2).cancelled_after(limit)));
    let layer = HealthLayer::new(provider.clone());

    let early = Duration::from_millis(9_999);
    for (waited, failures) in [(early, 0), (limit, 1), (early, 1), (limit, 2)] {
        let mut service = layer.layer(hanging());
        let call = service.ready().await.unwrap().call(());
        advance(waited).await;
        drop(call);
        assert_eq!(provider.health().consecutive_failures, failures);
    }
    assert_eq!(provider.health().state, State::Open);
}

/// Rule 11: a call with a verdict is not cancelled.
#[tokio::test(start_paused = true)]
async fn long_calls_that_end_are_not_cancelled() {
    let limit = Duration::from_secs(10);
    let provider = provider();
    provider.set_policy(Policy::new().trip(Trip::consecutive(3).cancelled_after(limit)));
    let layer = HealthLayer::new(provider.clone());

    layer.layer(slow()).oneshot(limit).await.unwrap();
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn slow_answers_are_failures_where_the_policy_says_so() {
    let limit = Duration::from_secs(5);
    let provider = provider();
    provider.set_policy(Policy::new().trip(Trip::consecutive(2).slow_call(limit)));
    let layer = HealthLayer::new(provider.clone());

    layer.layer(slow()).oneshot(limit).await.unwrap();
    assert_eq!(provider.health().consecutive_failures, 1);
    let quick = Duration::from_millis(4_999);
    layer.layer(slow()).oneshot(quick).await.unwrap();
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn panicking_task_says_nothing_and_harms_no_other_call() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    for _ in 0..3 {
        let panics = service_fn(async |(): ()| -> io::Result<()> { panic!("a bug of the client") });
        let task = tokio::spawn(layer.layer(panics).oneshot(()));
        assert!(task.await.unwrap_err().is_panic());
    }
    assert_eq!(provider.health().consecutive_failures, 0);
    layer.layer(echo()).oneshot("still served").await.unwrap();
}

/// Rule 3; scenario 4.
#[tokio::test(start_paused = true)]
async fn hung_trial_makes_way_for_the_next_one() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    half_open(&provider).await;
    let _hung = tokio::spawn(layer.layer(hanging()).oneshot(()));
    tokio::task::yield_now().await;
    assert_eq!(refusal(&layer).await.retry_in(), TRIAL_LEASE);
    advance(TRIAL_LEASE).await;

    layer.layer(echo()).oneshot("next trial").await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn service_that_fails_to_become_ready_trips() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    for _ in 0..2 {
        let (mock, mut handle) = tower_test::mock::pair::<(), ()>();
        handle.send_error(reset());
        let error = layer.layer(mock).oneshot(()).await.unwrap_err();
        assert_eq!(error.to_string(), "reset by peer");
    }
    refusal(&layer).await;
}

// One breaker in many stacks.

/// Rule 12; scenario 15.
#[tokio::test(start_paused = true)]
async fn everything_that_one_layer_wraps_shares_a_breaker() {
    let layer = HealthLayer::new(provider());
    failing(&layer).await;
    failing(&layer.clone()).await;
    refusal(&layer).await;
}

/// Rule 12; scenario 15.
#[tokio::test(start_paused = true)]
async fn layers_of_one_provider_share_a_breaker_and_those_of_others_do_not() {
    let cache = HealthCache::default();
    failing(&HealthLayer::new(cache.provider("search"))).await;
    failing(&HealthLayer::new(cache.clone().provider("search"))).await;

    refusal(&HealthLayer::new(cache.provider("search"))).await;
    let other = HealthLayer::new(cache.provider("payments")).layer(echo());
    other.oneshot("hi").await.unwrap();
}

/// Rule 12: a router that adds a layer to services that have one must not count each failure twice.
#[tokio::test(start_paused = true)]
async fn failure_of_a_provider_layered_twice_in_one_stack_counts_once() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let fails = service_fn(|_: &str| ready(Err::<&str, _>(io::Error::other("down"))));
    let twice = layer.layer(layer.layer(fails));

    twice.clone().oneshot("first").await.unwrap_err();
    assert_eq!(provider.health().consecutive_failures, 1);
    twice.oneshot("second").await.unwrap_err();
    assert_eq!(provider.health().consecutive_failures, 2);
    assert_eq!(provider.health().state, State::Open);
}

/// A call that yields is still inside its layer when it resumes, like a retry between the two layers.
#[tokio::test(start_paused = true)]
async fn call_that_yields_stays_inside_its_layer() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let inner = layer.layer(echo());
    let twice = layer.layer(service_fn(move |request| {
        let inner = inner.clone();
        async move {
            tokio::task::yield_now().await;
            inner.oneshot(request).await
        }
    }));
    half_open(&provider).await;

    assert_eq!(twice.oneshot("trial").await.unwrap(), "trial");
    assert_eq!(provider.health().state, State::Closed);
}

/// Rules 3 and 12: a host serves a model, and the model's own router calls the host.
#[tokio::test(start_paused = true)]
async fn provider_layered_again_beneath_another_counts_once_and_comes_back() {
    let cache = HealthCache::default();
    let (model, host) = (cache.provider("host/model"), cache.provider("host"));
    let (of_model, of_host) = (HealthLayer::new(model.clone()), HealthLayer::new(host));
    let fails = service_fn(|_: &str| ready(Err::<&str, _>(io::Error::other("down"))));
    let failing = of_model.layer(of_host.layer(of_model.layer(fails)));
    failing.oneshot("first").await.unwrap_err();
    assert_eq!(model.health().consecutive_failures, 1);

    half_open(&model).await;
    let answering = of_model.layer(of_host.layer(of_model.layer(echo())));
    assert_eq!(answering.oneshot("trial").await.unwrap(), "trial");
    assert_eq!(model.health().state, State::Closed);
}

/// Scenario 20: the outer layer holds the only slot, so the provider looks unhealthy to the inner layer.
#[tokio::test(start_paused = true)]
async fn trial_waits_inside_its_layer_for_a_service_that_is_not_ready() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let (backend, mut handle) = mock::pair();
    let inner = layer.layer(backend);
    let twice = layer.layer(service_fn(move |request: &'static str| {
        inner.clone().oneshot(request)
    }));
    half_open(&provider).await;

    handle.allow(0);
    let mut trial = task::spawn(twice.oneshot("trial"));
    assert_pending!(trial.poll());
    handle.allow(1);
    assert!(trial.is_woken());
    assert_pending!(trial.poll());
    let (request, respond) = handle.next_request().await.unwrap();
    respond.send_response(request);
    assert_eq!(assert_ready_ok!(trial.poll()), "trial");
    assert_eq!(provider.health().state, State::Closed);
}

/// Nested layers of different providers judge separately; an inner refusal does not count for the outer provider.
#[tokio::test(start_paused = true)]
async fn refusal_of_another_provider_beneath_is_no_failure() {
    let cache = HealthCache::default();
    let (host, model) = (cache.provider("host"), cache.provider("host/model"));
    let stack = HealthLayer::new(host.clone()).layer(HealthLayer::new(model.clone()).layer(echo()));
    model.force(Override::Open, Duration::from_secs(60), "maintenance");

    for _ in 0..3 {
        stack.clone().oneshot("refused").await.unwrap_err();
    }
    assert_eq!(host.health().consecutive_failures, 0);
    assert!(host.is_healthy());
}

/// Rules 3 and 12.
#[tokio::test(start_paused = true)]
async fn provider_layered_twice_in_one_stack_comes_back() {
    let provider = provider();
    let layer = HealthLayer::new(provider.clone());
    let twice = layer.layer(layer.layer(echo()));
    half_open(&provider).await;

    assert_eq!(twice.oneshot("trial").await.unwrap(), "trial");
    assert_eq!(provider.health().state, State::Closed);
}

/// Breakers reuse the slots of removed ones, whose calls may still be running.
#[tokio::test(start_paused = true)]
async fn call_of_a_provider_that_is_gone_is_not_around_the_calls_of_the_next() {
    let cache = HealthCache::default();
    let inner_cache = cache.clone();
    let gone = HealthLayer::new(provider()).layer(service_fn(move |()| {
        let cache = inner_cache.clone();
        async move {
            tokio::task::yield_now().await;
            let inner = HealthLayer::new(cache.provider("inner"));
            for _ in 0..2 {
                failing(&inner).await;
            }
            io::Result::Ok(())
        }
    }));
    let mut call = task::spawn(gone.oneshot(()));
    assert_pending!(call.poll());

    assert_ready_ok!(call.poll());
    assert!(!cache.is_healthy("inner"));
}

#[tokio::test(start_paused = true)]
async fn layer_knows_that_it_is_inside_another_at_any_depth() {
    type Boxed = BoxCloneSyncService<&'static str, &'static str, BoxError>;
    let cache = HealthCache::default();
    let providers: Vec<_> = (0..40).map(|id| cache.provider(id.to_string())).collect();
    let boxed = |result: Result<(), io::ErrorKind>| {
        Boxed::new(service_fn(move |request| {
            ready(
                result
                    .map(|()| request)
                    .map_err(|kind| io::Error::from(kind).into()),
            )
        }))
    };
    let around = |service: Boxed| {
        providers.iter().fold(service, |service, provider| {
            Boxed::new(HealthLayer::new(provider.clone()).layer(service))
        })
    };
    let fails = around(around(boxed(Err(io::ErrorKind::ConnectionReset))));
    fails.oneshot("hi").await.unwrap_err();
    for provider in &providers {
        assert_eq!(provider.health().consecutive_failures, 1, "{provider:?}");
    }

    for provider in &providers {
        half_open(provider).await;
    }
    let answers = around(around(boxed(Ok(()))));
    assert_eq!(answers.oneshot("trial").await.unwrap(), "trial");
    for provider in &providers {
        assert_eq!(provider.health().state, State::Closed, "{provider:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn service_shows_whose_it_is_and_what_it_wraps() {
    let mut service = HealthLayer::new(provider()).layer(String::from("inner"));
    service.get_mut().push('!');
    assert_eq!(service.provider().id(), "search");
    assert_eq!(service.get_ref(), "inner!");
    assert_eq!(service.into_inner(), "inner!");
}

// Finding errors.

#[tokio::test(start_paused = true)]
async fn refusal_is_found_beneath_every_wrapper() {
    let refusal = open_circuit();
    let wrapped: [(&str, BoxError); 8] = [
        ("nothing", refusal.clone().into()),
        ("io::Error", io::Error::other(refusal.clone()).into()),
        (
            "two io::Errors",
            io::Error::other(io::Error::other(refusal.clone())).into(),
        ),
        (
            "an io::Error around a box",
            io::Error::other(BoxError::from(refusal.clone())).into(),
        ),
        ("a source", Because(refusal.clone().into()).into()),
        (
            "a source of an io::Error",
            io::Error::other(Because(refusal.clone().into())).into(),
        ),
        ("a box of its own", Box::new(Box::new(refusal.clone()))),
        ("a shared error", Arc::new(refusal.clone()).into()),
    ];
    for (wrapper, error) in &wrapped {
        let found = error::find::<CircuitOpen>(&**error);
        assert_eq!(
            found.map(CircuitOpen::provider),
            Some("search"),
            "{wrapper}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_is_found_in_a_shared_error_of_any_type() {
    let shared: Arc<dyn Error + Send + Sync> = Arc::new(open_circuit());
    assert!(error::find::<CircuitOpen>(&shared).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_where_nothing_is() {
    let unrelated: [BoxError; 3] = [
        "text".into(),
        io::Error::other("text").into(),
        Because(reset().into()).into(),
    ];
    for error in &unrelated {
        assert!(error::find::<CircuitOpen>(&**error).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_is_found_beneath_64_sources() {
    let mut error: BoxError = open_circuit().into();
    for _ in 0..64 {
        error = Because(error).into();
    }
    assert!(error::find::<CircuitOpen>(&*error).is_some());
}

/// Sources that lead back to themselves: as a source, in an `io::Error`, or shared.
#[tokio::test]
async fn cyclic_sources_end() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let knot = Arc::new(Knot(OnceLock::new()));
        let shared: Arc<dyn Error + Send + Sync> = Arc::clone(&knot) as _;
        knot.0.set(Arc::clone(&shared)).unwrap();
        let errors: [BoxError; 4] = [
            Cyclic.into(),
            io::Error::other(Cyclic).into(),
            Arc::clone(&shared).into(),
            io::Error::other(shared).into(),
        ];
        for error in &errors {
            assert!(error::find::<CircuitOpen>(&**error).is_none());
            assert_eq!(Kind::of(&**error), None);
            assert_eq!(Reason::error(&**error), "cyclic");
        }
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(Duration::from_secs(5))
        .expect("a cyclic chain of sources does not end");
}

#[tokio::test(start_paused = true)]
async fn errors_of_other_layers_are_found_too() {
    let error: BoxError = io::Error::other(Because(reset().into())).into();
    assert_eq!(
        error::find::<io::Error>(&*error).unwrap().kind(),
        io::ErrorKind::Other,
        "the outermost comes first"
    );
    assert!(error::find::<Because>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn refusal_is_found_through_a_timeout_and_a_buffer() {
    let provider = provider();
    trip(&provider);
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(4))
        .timeout(Duration::from_secs(1))
        .layer(HealthLayer::new(provider))
        .service(echo());

    let error = service.oneshot("hi").await.unwrap_err();
    assert!(error::find::<CircuitOpen>(&*error).is_some());
}

/// A buffer shares the error that ended its worker with all callers.
#[tokio::test(start_paused = true)]
async fn readiness_error_is_found_in_what_a_dead_buffer_says() {
    let provider = provider();
    let (mock, mut handle) = tower_test::mock::pair::<(), ()>();
    handle.send_error(reset());
    let service = ServiceBuilder::new()
        .layer(BufferLayer::new(4))
        .layer(HealthLayer::new(provider.clone()))
        .service(mock);

    let error = service.oneshot(()).await.unwrap_err();
    assert!(error::find::<io::Error>(&*error).is_some());
    assert_eq!(provider.health().consecutive_failures, 1);
}

// Types.

#[test]
fn handles_are_debug_clone_send_and_sync() {
    fn is_handle<T: Debug + Clone + Send + Sync + Unpin + 'static>() {}

    is_handle::<HealthLayer>();
    is_handle::<HealthLayer<ClassifyWith<fn()>>>();
    is_handle::<Health<()>>();
    is_handle::<Provider>();
    is_handle::<HealthCache>();
    is_handle::<CircuitOpen>();
}

/// Checked with every feature, because a feature that a dependency enables must not break a caller.
#[test]
fn permit_and_what_callers_get_are_unwind_safe() {
    fn assert<T: UnwindSafe + RefUnwindSafe>() {}
    assert::<Permit>();
    assert::<CircuitOpen>();
    assert::<Outcome>();
    assert::<Policy>();
}

#[test]
fn future_is_as_movable_as_what_it_wraps() {
    fn is_movable<T: Debug + Send + Sync + Unpin + 'static>() {}

    is_movable::<Permit>();
    is_movable::<ResponseFuture<Ready<Result<(), Infallible>>, ErrorsAsFailures>>();
}

/// Five words for the permit: its provider, epoch, slot, and possibly its start.
#[cfg(target_pointer_width = "64")]
#[test]
fn future_is_at_most_forty_bytes_larger_than_what_it_wraps() {
    type Inner = [u64; 16];
    let own = size_of::<ResponseFuture<Inner, ErrorsAsFailures>>() - size_of::<Inner>();
    assert!(own <= 40, "{own} bytes");
}

#[test]
fn debug_asks_nothing_of_the_closure() {
    let layer =
        HealthLayer::new(provider()).classify_with(|_: Result<&(), &Infallible>| Outcome::Success);
    let shown = format!("{layer:?}");
    assert!(
        shown.contains("search") && shown.contains("ClassifyWith"),
        "{shown}"
    );
}

// Helpers.

/// Hands the permit to the caller inside the response, as a body does.
#[derive(Clone, Debug)]
struct PermitInResponse;

#[derive(Debug)]
struct Streaming<T> {
    text: T,
    permit: Permit,
}

impl<Res, E> Classify<Res, E> for PermitInResponse {
    type Response = Streaming<Res>;

    fn classify(&self, result: Result<Res, E>, permit: Permit) -> Result<Self::Response, E> {
        result.map(|text| Streaming { text, permit })
    }
}

#[derive(Debug)]
struct Because(BoxError);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something else failed")
    }
}

impl Error for Because {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// An error that is its own source.
#[derive(Debug)]
struct Cyclic;

impl fmt::Display for Cyclic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cyclic")
    }
}

impl Error for Cyclic {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

/// An error around a shared one, which may be itself.
#[derive(Debug)]
struct Knot(OnceLock<Arc<dyn Error + Send + Sync>>);

impl fmt::Display for Knot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cyclic")
    }
}

impl Error for Knot {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.get().map(|it| it as _)
    }
}

fn provider() -> Provider {
    let without_jitter = Policy::new().throttle(Throttle::default().jitter(0.0));
    HealthCache::new(without_jitter).provider("search")
}

fn open_circuit() -> CircuitOpen {
    let provider = provider();
    trip(&provider);
    provider.admit().unwrap_err()
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer")
}

type Answer<T> = Ready<io::Result<T>>;

fn echo()
-> impl Service<&'static str, Response = &'static str, Error = io::Error, Future = Answer<&'static str>>
+ Copy {
    service_fn(|text| ready(Ok(text)))
}

fn broken() -> impl Service<&'static str, Response = &'static str, Error = io::Error> + Copy {
    service_fn(|_| ready(Err(reset())))
}

fn hanging() -> impl Service<(), Response = (), Error = io::Error, Future = Pending<io::Result<()>>>
{
    service_fn(|()| pending())
}

/// Answers after the requested time.
fn slow() -> impl Service<Duration, Response = (), Error = Infallible> {
    service_fn(async |wait| {
        sleep(wait).await;
        Ok(())
    })
}

/// Makes a call that fails.
async fn failing(layer: &HealthLayer) -> BoxError {
    let error = layer.layer(broken()).oneshot("hi").await.unwrap_err();
    assert!(!error.is::<CircuitOpen>());
    error
}

/// Makes a call that is refused.
async fn refusal(layer: &HealthLayer) -> CircuitOpen {
    let error = layer.layer(echo()).oneshot("hi").await.unwrap_err();
    *error.downcast().unwrap()
}
