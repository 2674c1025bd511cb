//! The tower contract and the layer's further guarantees: one test for each.

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    fmt,
    future::{Pending, Ready, pending, ready},
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    BoxError, Classify, ErrorsAsFailures, Health, HealthCache, HealthLayer, Outcome, Override,
    Permit, Policy, Provider, State, Trials, error::CircuitOpen,
};
use tower_test::mock::{self, Mock, Spawn};

use crate::outage::{OPEN_WINDOW, half_open, trip};

const TRIAL_LEASE: Duration = Duration::from_secs(60);
const TRIAL_PAUSE: Duration = Duration::from_secs(1);

// Readiness while the breaker refuses.

#[tokio::test(start_paused = true)]
async fn open_breaker_is_ready_without_polling_the_inner_service() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    trip(&stack.provider);

    assert_ready_ok!(stack.service.poll_ready());
    assert_eq!(stack.tally.polls(), 0);
}

#[tokio::test(start_paused = true)]
async fn half_open_breaker_without_a_free_slot_is_ready_without_polling_the_inner_service() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    half_open(&stack.provider).await;
    let _trial = stack.provider.admit().unwrap();

    assert_ready_ok!(stack.service.poll_ready());
    assert_eq!(stack.tally.polls(), 0);
}

/// Rule 13.
#[tokio::test(start_paused = true)]
async fn breaker_that_waits_for_a_probe_is_ready_without_polling_the_inner_service() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    let trials = Trials::default().by_probe_only(true);
    stack.provider.set_policy(Policy::new().trials(trials));
    half_open(&stack.provider).await;

    assert_ready_ok!(stack.service.poll_ready());
    assert_eq!(stack.tally.polls(), 0);
}

/// Scenario 20.
#[tokio::test(start_paused = true)]
async fn health_neither_fails_readiness_nor_holds_it_up() {
    let make_unhealthy: [fn(&Provider); 3] = [
        trip,
        |provider| provider.admit().unwrap().throttled(None, "slow down"),
        |provider| provider.force(Override::Open, OPEN_WINDOW, "maintenance"),
    ];
    for make_unhealthy in make_unhealthy {
        let mut stack = Stack::new();
        stack.handle.allow(0);
        stack.handle.send_error("must not be seen");
        make_unhealthy(&stack.provider);
        let cause = stack.provider.health().cause.unwrap();

        assert!(!stack.provider.is_healthy(), "{cause}");
        assert_ready_ok!(stack.service.poll_ready(), "{cause}");
        assert_ready_ok!(stack.service.poll_ready(), "{cause}");
        assert!(!stack.service.is_woken(), "{cause}");
        assert_eq!(stack.tally.polls(), 0, "{cause}");
    }
}

/// Scenario 20.
#[tokio::test(start_paused = true)]
async fn readiness_to_refuse_outlives_the_open_window() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    advance(OPEN_WINDOW).await;

    assert!(stack.provider.is_healthy());
    assert_ready_ok!(stack.service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn call_refuses_an_unready_service_although_the_window_ran_out() {
    let mut stack = Stack::new();
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    advance(OPEN_WINDOW).await;

    let refusal = refused(stack.service.call("late"));
    assert_eq!(refusal.state(), State::HalfOpen);
    assert_eq!(refusal.retry_in(), Duration::ZERO);
    assert_eq!(stack.tally.calls(), 0);
    assert!(stack.provider.is_healthy(), "no trial's slot is taken");
}

#[tokio::test(start_paused = true)]
async fn call_refuses_an_unready_service_although_the_breaker_has_closed() {
    let mut stack = Stack::new();
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    stack.provider.mark_healthy();

    assert_eq!(
        refused(stack.service.call("late")).retry_in(),
        Duration::ZERO
    );
    assert_eq!(stack.tally.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn service_that_became_ready_after_the_window_is_called() {
    let mut stack = Stack::new();
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    advance(OPEN_WINDOW).await;

    assert_ready_ok!(stack.service.poll_ready());
    let _trial = stack.service.call("trial");
    assert_eq!(stack.tally.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn readiness_to_refuse_ends_with_the_refusal() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    refused(stack.service.call("refused"));
    advance(OPEN_WINDOW).await;

    assert_pending!(stack.service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn refusal_is_the_future_s_first_answer() {
    let mut stack = Stack::new();
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());

    let mut response = task::spawn(stack.service.call("refused"));
    let error = assert_ready_err!(response.poll());
    assert!(error.is::<CircuitOpen>());
    assert!(!response.is_woken());
}

// Readiness of the inner service.

#[tokio::test(start_paused = true)]
async fn readiness_error_is_passed_on_and_counted_as_a_failure() {
    let mut stack = Stack::new();
    stack.handle.send_error("connection pool is gone");

    let error = assert_ready_err!(stack.service.poll_ready());
    assert_eq!(error.to_string(), "connection pool is gone");
    let health = stack.provider.health();
    assert_eq!(health.consecutive_failures, 1);
    assert_eq!(health.last_error.unwrap(), "connection pool is gone");
}

#[tokio::test(start_paused = true)]
async fn readiness_errors_trip_the_breaker() {
    let mut stack = Stack::new();
    for _ in 0..2 {
        stack.handle.send_error("connection pool is gone");
        assert_ready_err!(stack.service.poll_ready());
    }
    assert_eq!(stack.provider.health().state, State::Open);
    assert_ready_ok!(stack.service.poll_ready());
    refused(stack.service.call("refused"));
}

#[tokio::test(start_paused = true)]
async fn readiness_error_of_a_half_open_provider_opens_it_again() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    stack.handle.send_error("still down");

    assert_ready_err!(stack.service.poll_ready());
    let health = stack.provider.health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.retry_in, Some(OPEN_WINDOW));
}

#[tokio::test(start_paused = true)]
async fn readiness_error_that_arose_on_this_side_is_neutral() {
    let mut stack = Stack::new();
    for _ in 0..2 {
        let overloaded = tower::load_shed::error::Overloaded::new();
        stack.handle.send_error(overloaded);
        assert_ready_err!(stack.service.poll_ready());
        let (mock, handle) = mock::pair();
        stack.service.get_mut().get_mut().inner = mock;
        stack.handle = handle;
    }
    assert_eq!(stack.provider.health().consecutive_failures, 0);
    assert!(stack.provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn readiness_error_that_arose_on_this_side_frees_the_trial_s_slot() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    let overloaded = tower::load_shed::error::Overloaded::new();
    stack.handle.send_error(overloaded);

    assert_ready_err!(stack.service.poll_ready());
    assert_eq!(stack.provider.health().state, State::HalfOpen);
    assert!(stack.provider.is_healthy());
}

/// Without a runtime, the service cannot wait for the end of the override.
#[test]
fn readiness_of_a_forced_provider_needs_no_timer() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    let ttl = Duration::from_secs(60);
    stack.provider.force(Override::Closed, ttl, "trust it");
    assert_pending!(stack.service.poll_ready());

    let without_timers = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut stack = Stack::new();
    stack.handle.allow(0);
    without_timers.block_on(async {
        stack.provider.force(Override::Closed, ttl, "trust it");
        assert_pending!(stack.service.poll_ready());
        stack.provider.force(Override::Open, ttl, "maintenance");
    });
    assert!(stack.service.is_woken());
    assert_ready_ok!(stack.service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn pending_readiness_is_passed_on_with_its_waker() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    assert_pending!(stack.service.poll_ready());
    assert!(!stack.service.is_woken());

    stack.handle.allow(1);
    assert!(stack.service.is_woken());
    assert_ready_ok!(stack.service.poll_ready());
}

/// A caller that waits for a hanging service learns at once that its calls are refused from now on.
#[tokio::test(start_paused = true)]
async fn caller_who_waits_for_readiness_is_woken_when_the_breaker_opens() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    assert_pending!(stack.service.poll_ready());

    trip(&stack.provider);
    assert!(stack.service.is_woken());
    assert_ready_ok!(stack.service.poll_ready());
}

/// Only the passing of time ends the override, so a timer must wake the caller.
#[tokio::test(start_paused = true)]
async fn caller_who_waits_for_readiness_is_woken_when_an_override_ends_over_an_open_breaker() {
    let mut stack = Stack::new();
    let maintenance = Duration::from_secs(10);
    stack.handle.allow(0);
    trip(&stack.provider);
    stack
        .provider
        .force(Override::Closed, maintenance, "it works for us");
    assert_pending!(stack.service.poll_ready());

    advance(maintenance).await;
    assert!(stack.service.is_woken());
    assert_ready_ok!(stack.service.poll_ready());
}

/// A balancer polls again just before it calls, to detect a connection that has closed since.
#[tokio::test(start_paused = true)]
async fn inner_service_that_is_no_longer_ready_shows_when_asked_again() {
    let mut stack = Stack::new();
    assert_ready_ok!(stack.service.poll_ready());
    stack.handle.send_error("connection closed");

    assert_ready_err!(stack.service.poll_ready());
    assert_eq!(stack.provider.health().consecutive_failures, 1);
    assert_panics_for_want_of_readiness(|| stack.service.call("must not reach it"));
    assert_eq!(stack.tally.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_call_of_the_inner_service_needs_a_readiness_of_its_own() {
    let mut stack = Stack::new();
    for calls in 1..=3 {
        assert_ready_ok!(stack.service.poll_ready());
        drop(stack.service.call("one"));
        assert_eq!((stack.tally.polls(), stack.tally.calls()), (calls, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn inner_service_that_is_not_ready_is_never_called() {
    let mut stack = Stack::new();
    assert_ready_ok!(stack.service.poll_ready());
    let _first = stack.service.call("first");

    assert_panics_for_want_of_readiness(|| stack.service.call("second, without poll_ready"));
    assert_eq!(stack.tally.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn call_before_any_readiness_panics_in_every_state() {
    let mut stack = Stack::new();
    assert_panics_for_want_of_readiness(|| stack.service.call("closed"));
    trip(&stack.provider);
    assert_panics_for_want_of_readiness(|| stack.service.call("open"));
    advance(OPEN_WINDOW).await;
    assert_panics_for_want_of_readiness(|| stack.service.call("half-open"));

    assert_eq!(stack.tally.calls(), 0);
    assert!(stack.provider.is_healthy(), "no trial's slot is taken");
}

#[tokio::test(start_paused = true)]
async fn refusal_uses_the_readiness_to_refuse_up() {
    let mut stack = Stack::new();
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    refused(stack.service.call("refused"));

    assert_panics_for_want_of_readiness(|| stack.service.call("again, without poll_ready"));
}

#[tokio::test(start_paused = true)]
async fn clone_of_a_ready_service_panics_where_it_is_called_at_once() {
    let mut stack = Stack::new();
    assert_ready_ok!(stack.service.poll_ready());
    let mut clone = stack.service.clone();
    assert_panics_for_want_of_readiness(|| clone.call("without poll_ready"));
}

#[tokio::test(start_paused = true)]
async fn inner_service_stays_ready_through_a_refused_call() {
    let mut stack = Stack::new();
    assert_ready_ok!(stack.service.poll_ready());
    trip(&stack.provider);
    refused(stack.service.call("refused"));
    stack.provider.mark_healthy();

    let _admitted = stack.service.call("admitted");
    assert_eq!((stack.tally.polls(), stack.tally.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn clone_of_a_ready_service_is_not_ready() {
    let mut stack = Stack::new();
    assert_ready_ok!(stack.service.poll_ready());
    let mut clone = stack.service.clone();
    stack.handle.allow(0);

    assert_pending!(clone.poll_ready());
    assert_ready_ok!(stack.service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn clone_of_a_service_that_is_ready_to_refuse_is_not_ready() {
    let mut stack = Stack::new();
    stack.handle.allow(0);
    trip(&stack.provider);
    assert_ready_ok!(stack.service.poll_ready());
    let mut clone = stack.service.clone();
    advance(OPEN_WINDOW).await;

    assert_pending!(clone.poll_ready());
}

// The permit.

#[tokio::test(start_paused = true)]
async fn ready_service_holds_no_trial_slot() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    let mut idle = stack.service.clone();
    assert_ready_ok!(idle.poll_ready());

    assert_ready_ok!(stack.service.poll_ready());
    let _trial = stack.service.call("trial");
    assert_eq!(stack.tally.calls(), 1);
    assert_eq!(refused(idle.call("too late")).state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn permit_is_taken_in_call() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    assert!(stack.provider.is_healthy());

    let _unpolled = stack.service.call("trial");
    assert!(!stack.provider.is_healthy());
}

/// Neutral never means success.
#[tokio::test(start_paused = true)]
async fn dropped_call_moves_no_streak() {
    let mut stack = Stack::new();
    stack.provider.admit().unwrap().failure("timeout");
    assert_ready_ok!(stack.service.poll_ready());
    drop(stack.service.call("dropped"));

    let health = stack.provider.health();
    assert_eq!(
        (health.state, health.consecutive_failures),
        (State::Closed, 1)
    );
}

/// Rule 4; scenarios 3 and 5.
#[tokio::test(start_paused = true)]
async fn dropped_trial_gives_its_slot_back_after_the_pause() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    let mut trial = task::spawn(stack.service.call("trial"));
    assert_pending!(trial.poll());

    drop(trial);
    let health = stack.provider.health();
    assert_eq!(health.state, State::HalfOpen);
    assert_eq!(health.retry_in, Some(TRIAL_PAUSE));
    advance(TRIAL_PAUSE).await;
    assert!(stack.provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn finished_future_holds_nothing_although_it_is_kept() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    let mut trial = task::spawn(stack.service.call("trial"));
    answer(&mut stack.handle, "well").await;

    assert_eq!(assert_ready_ok!(trial.poll()), "well");
    assert_eq!(stack.provider.health().state, State::Closed);
    drop(trial);
    assert_eq!(stack.provider.health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn call_outlives_the_service_that_made_it() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    let mut trial = task::spawn(stack.service.call("trial"));
    drop(stack.service);
    answer(&mut stack.handle, "well").await;

    assert_ready_ok!(trial.poll());
    assert_eq!(stack.provider.health().state, State::Closed);
}

// No wedge, no stampede.

/// Rule 3; scenario 4.
#[tokio::test(start_paused = true)]
async fn hung_trial_loses_its_slot_when_its_lease_ends() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    let mut hung = task::spawn(stack.service.call("hangs"));
    assert_pending!(hung.poll());
    assert_eq!(stack.provider.health().retry_in, Some(TRIAL_LEASE));

    advance(TRIAL_LEASE).await;
    assert_ready_ok!(stack.service.poll_ready());
    let _next = stack.service.call("next");
    assert_eq!(stack.tally.calls(), 2);
}

/// Rule 3; scenario 4.
#[tokio::test(start_paused = true)]
async fn forgotten_trial_loses_its_slot_when_its_lease_ends() {
    let mut stack = Stack::new();
    half_open(&stack.provider).await;
    assert_ready_ok!(stack.service.poll_ready());
    mem::forget(stack.service.call("forgotten"));

    assert!(!stack.provider.is_healthy());
    advance(TRIAL_LEASE).await;
    assert!(stack.provider.is_healthy());
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn panic_in_the_inner_call_does_not_wedge_half_open() {
    let panics = service_fn(|(): ()| -> Pending<io::Result<()>> { panic!("in call") });
    assert_panic_frees_the_slot(panics, ErrorsAsFailures).await;
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn panic_in_the_inner_future_does_not_wedge_half_open() {
    let panics = service_fn(async |(): ()| -> io::Result<()> { panic!("in the future") });
    assert_panic_frees_the_slot(panics, ErrorsAsFailures).await;
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn panic_in_the_classifier_does_not_wedge_half_open() {
    #[derive(Clone)]
    struct Panics;

    impl<Res, E> Classify<Res, E> for Panics {
        type Response = Res;

        fn classify(&self, _: Result<Res, E>, _permit: Permit) -> Result<Res, E> {
            panic!("in the classifier")
        }
    }
    assert_panic_frees_the_slot(service_fn(async |(): ()| io::Result::Ok(())), Panics).await;
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn panic_while_an_error_is_displayed_does_not_wedge_half_open() {
    #[derive(Debug)]
    struct Undisplayable;

    impl fmt::Display for Undisplayable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in display")
        }
    }

    impl Error for Undisplayable {}

    let fails = service_fn(async |(): ()| Err::<(), _>(Undisplayable));
    assert_panic_frees_the_slot(fails, ErrorsAsFailures).await;
}

/// Rule 3.
#[tokio::test(start_paused = true)]
async fn panic_in_the_inner_readiness_takes_no_slot() {
    struct Panics;

    impl Service<()> for Panics {
        type Response = ();
        type Error = Infallible;
        type Future = Pending<Result<(), Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            panic!("in poll_ready")
        }

        fn call(&mut self, (): ()) -> Self::Future {
            pending()
        }
    }
    let provider = HealthCache::default().provider("search");
    half_open(&provider).await;
    let mut service = Spawn::new(HealthLayer::new(provider.clone()).layer(Panics));

    catch_unwind(AssertUnwindSafe(|| service.poll_ready())).unwrap_err();
    assert!(provider.is_healthy());
}

/// Rule 4; scenario 6.
#[tokio::test(start_paused = true)]
async fn of_a_thousand_calls_in_half_open_one_reaches_the_service() {
    let stack = Stack::new();
    half_open(&stack.provider).await;
    let mut services: Vec<_> = (0..1_000).map(|_| stack.service.clone()).collect();
    for service in &mut services {
        assert_ready_ok!(service.poll_ready());
    }
    let calls = services
        .iter_mut()
        .map(|service| service.call("all at once"));
    let mut calls: Vec<_> = calls.map(task::spawn).collect();

    assert_eq!(count_refused(&mut calls), 999);
    assert_eq!(stack.tally.calls(), 1);
}

/// Rule 4; scenario 6.
#[test]
fn of_a_thousand_calls_from_many_threads_in_half_open_one_reaches_the_service() {
    const THREADS: usize = 8;
    const CALLS: usize = 1_000 / THREADS;

    let provider = HealthCache::default().provider("search");
    trip(&provider);
    assert!(provider.grant_trial());
    let reached = AtomicUsize::new(0);
    let service = HealthLayer::new(provider).layer(service_fn(|(): ()| {
        reached.fetch_add(1, Ordering::SeqCst);
        pending::<io::Result<()>>()
    }));
    let all_are_ready = Barrier::new(THREADS);

    let refusals: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut services = vec![Spawn::new(service.clone()); CALLS];
                    for service in &mut services {
                        assert_ready_ok!(service.poll_ready());
                    }
                    // All of the thousand have seen a free slot by now.
                    all_are_ready.wait();
                    let calls = services.iter_mut().map(|service| service.call(()));
                    let mut calls: Vec<_> = calls.map(task::spawn).collect();
                    count_refused(&mut calls)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(refusals, 999);
    assert_eq!(reached.into_inner(), 1);
}

// Bounds on the user's types.

/// Only tower's bounds: the request is not `Send`, the service not `Send`, `Clone` or `'static`, the future not `Send`, and
/// the classifier not `Send` or `'static`.
#[tokio::test(start_paused = true)]
async fn user_types_need_not_be_send_clone_or_static() {
    struct Echo<'a> {
        prefix: &'a str,
        _not_send: Rc<()>,
    }

    impl<'a> Service<Rc<str>> for Echo<'a> {
        type Response = (&'a str, Rc<str>);
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Rc<str>) -> Self::Future {
            ready(Ok((self.prefix, request)))
        }
    }
    let local = String::from("hello");
    let seen = Cell::new(0);
    let layer = HealthLayer::new(HealthCache::default().provider("search")).classify_with(
        |result: Result<&(&str, Rc<str>), &Infallible>| {
            seen.set(seen.get() + result.map_or(0, |(_, name)| name.len()));
            Outcome::Success
        },
    );
    let mut service = layer.layer(Echo {
        prefix: &local,
        _not_send: Rc::new(()),
    });

    let (prefix, name) = service
        .ready()
        .await
        .unwrap()
        .call("world".into())
        .await
        .unwrap();
    assert_eq!((prefix, &*name, seen.get()), ("hello", "world", 5));
}

// Helpers.

/// A mock service inside the layer, with counts of its polls and calls.
struct Stack {
    provider: Provider,
    service: Spawn<Health<Tallied<Mock<&'static str, &'static str>>>>,
    handle: mock::Handle<&'static str, &'static str>,
    tally: Tally,
}

impl Stack {
    fn new() -> Self {
        let provider = HealthCache::default().provider("search");
        let tally = Tally::default();
        let layer = HealthLayer::new(provider.clone());
        let (service, handle) = mock::spawn_with(|mock| {
            layer.layer(Tallied {
                inner: mock,
                tally: tally.clone(),
            })
        });
        Self {
            provider,
            service,
            handle,
            tally,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Tally {
    polls: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Tally {
    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Debug)]
struct Tallied<S> {
    inner: S,
    tally: Tally,
}

impl<S: Service<Req>, Req> Service<Req> for Tallied<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.tally.polls.fetch_add(1, Ordering::SeqCst);
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.tally.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.call(request)
    }
}

/// Asserts that `call` panics with tower's message.
fn assert_panics_for_want_of_readiness<T>(call: impl FnOnce() -> T) {
    let Err(said) = catch_unwind(AssertUnwindSafe(call)) else {
        panic!("a call without readiness did not panic");
    };
    assert_eq!(
        said.downcast_ref::<&str>(),
        Some(&"service not ready; poll_ready must be called first")
    );
}

/// Calls `service` as a trial that panics, and asserts that the next trial is admitted after the pause.
async fn assert_panic_frees_the_slot<S, C>(service: S, classifier: C)
where
    S: Service<(), Response = (), Error: Into<BoxError>>,
    C: Classify<(), S::Error, Response = ()> + Clone,
{
    let provider = HealthCache::default().provider("search");
    half_open(&provider).await;
    let layer = HealthLayer::new(provider.clone()).classify(classifier);
    let mut service = Spawn::new(layer.layer(service));
    assert_ready_ok!(service.poll_ready());

    let trial = catch_unwind(AssertUnwindSafe(|| {
        drop(task::spawn(service.call(())).poll());
    }));
    trial.unwrap_err();
    let health = provider.health();
    assert_eq!(health.state, State::HalfOpen);
    assert_eq!(health.retry_in, Some(TRIAL_PAUSE));
    advance(TRIAL_PAUSE).await;
    assert!(provider.is_healthy());
}

/// Returns the refusal with which `response` ends at once.
fn refused<T: fmt::Debug>(response: impl Future<Output = Result<T, BoxError>>) -> CircuitOpen {
    let error = assert_ready_err!(task::spawn(response).poll());
    *error.downcast().unwrap()
}

/// Polls each call once, and returns how many are refused.
fn count_refused<T>(calls: &mut [task::Spawn<impl Future<Output = Result<T, BoxError>>>]) -> usize {
    let answers = calls.iter_mut().map(task::Spawn::poll);
    answers.filter(is_refusal).count()
}

fn is_refusal<T>(answer: &Poll<Result<T, BoxError>>) -> bool {
    matches!(answer, Poll::Ready(Err(error)) if error.is::<CircuitOpen>())
}

async fn answer(handle: &mut mock::Handle<&'static str, &'static str>, response: &'static str) {
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(response);
}
