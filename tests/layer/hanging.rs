//! Hanging calls: judged when their limit has passed, and released when the breaker opens.

use std::{
    future::{pending, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{advance, sleep},
};
use tokio_test::{
    assert_pending, assert_ready, assert_ready_err, assert_ready_ok,
    task::{self, Spawn},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    BoxError, Cause, HealthCache, HealthLayer, Override, Policy, Provider, State, Trials, Trip,
    error::{self, CircuitOpen, Kind},
};

use crate::rig::{Rig, just_under, secs, without_jitter};

const LIMIT: Duration = Duration::from_secs(3);

fn timed() -> Policy {
    Policy::new().trip(Trip::consecutive(2).slow_call(LIMIT))
}

fn releasing() -> Policy {
    Policy::new().release_on_open(true)
}

type Future = dyn std::future::Future<Output = Result<&'static str, BoxError>> + Send;

/// A call in flight, which `answer` can end.
struct Call {
    future: Spawn<Pin<Box<Future>>>,
    answer: Option<oneshot::Sender<io::Result<&'static str>>>,
}

impl Call {
    /// Calls `provider`, and polls once.
    fn begin(provider: &Provider) -> Self {
        let mut call = Self::unpolled(provider);
        assert_pending!(call.future.poll());
        call
    }

    fn unpolled(provider: &Provider) -> Self {
        let (answer, answered) = oneshot::channel();
        let mut answered = Some(answered);
        let inner = service_fn(move |()| {
            let answered = answered.take().expect("one call");
            async { answered.await.expect("an answer") }
        });
        let mut service = HealthLayer::new(provider.clone()).layer(inner);
        assert_ready_ok!(task::spawn(service.ready()).poll());
        Self {
            future: task::spawn(Box::pin(service.call(()))),
            answer: Some(answer),
        }
    }

    /// Whether the inner future still waits for its answer.
    fn is_running(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| !answer.is_closed())
    }

    fn answer(&mut self, answer: io::Result<&'static str>) -> Result<&'static str, BoxError> {
        let _ = self.answer.take().expect("one answer").send(answer);
        assert!(self.future.is_woken());
        assert_ready!(self.future.poll())
    }

    #[track_caller]
    fn assert_released(&mut self) {
        assert!(self.future.is_woken());
        let error = assert_ready_err!(self.future.poll());
        let released = error::find::<CircuitOpen>(&*error).expect("a `CircuitOpen`");
        assert!(released.is_released());
        assert!(!self.is_running());
    }

    #[track_caller]
    fn assert_waits(&mut self) {
        assert_pending!(self.future.poll());
        assert!(self.is_running());
    }
}

fn down() -> io::Result<&'static str> {
    Err(io::ErrorKind::ConnectionReset.into())
}

mod slow {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn call_is_a_failure_as_soon_as_its_limit_has_passed() {
        let rig = Rig::new(timed());
        let mut call = Call::begin(&rig);

        advance(just_under(LIMIT)).await;
        assert_pending!(call.future.poll());
        assert_eq!(rig.health().consecutive_failures, 0);

        sleep(Duration::from_millis(1)).await;
        assert!(call.future.is_woken());
        call.assert_waits();
        assert_eq!(rig.health().consecutive_failures, 1);
        let reason = rig.health().last_error.unwrap();
        assert_eq!(reason, "slow: no answer within 3s");
        assert_eq!(reason.label(), "slow");
    }

    /// Rule 1.
    #[tokio::test(start_paused = true)]
    async fn call_that_was_judged_goes_on_and_its_answer_is_late() {
        for answer in [Ok("at last"), down()] {
            let rig = Rig::new(timed());
            let mut call = Call::begin(&rig);
            sleep(LIMIT).await;
            call.assert_waits();
            let is_ok = answer.is_ok();

            assert_eq!(call.answer(answer).is_ok(), is_ok);
            assert_eq!(rig.health().consecutive_failures, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_was_judged_counts_no_more_when_it_is_dropped() {
        let rig = Rig::new(
            Policy::new().trip(Trip::consecutive(2).slow_call(LIMIT).cancelled_after(LIMIT)),
        );
        let mut call = Call::begin(&rig);
        sleep(LIMIT).await;
        call.assert_waits();
        drop(call);
        assert_eq!(rig.health().consecutive_failures, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_while_calls_hang() {
        let rig = Rig::new(timed());
        let mut calls = [Call::begin(&rig), Call::begin(&rig), Call::begin(&rig)];
        sleep(LIMIT).await;
        calls.iter_mut().for_each(Call::assert_waits);

        assert_eq!(rig.state(), State::Open);
        assert_eq!(rig.health().cause, Some(Cause::Failures));
        assert_eq!(rig.health().consecutive_failures, 2, "the third is late");
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_is_there_when_the_limit_passes_counts_as_too_late() {
        let rig = Rig::new(timed());
        let mut call = Call::begin(&rig);
        advance(LIMIT).await;
        call.answer(Ok("just")).unwrap();
        assert_eq!(rig.health().consecutive_failures, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn trial_that_hangs_is_decided_when_its_limit_has_passed() {
        let rig = Rig::half_open(timed()).await;
        let mut trial = Call::begin(&rig);
        assert!(!rig.is_healthy());
        sleep(LIMIT).await;
        trial.assert_waits();

        assert_eq!(rig.state(), State::Open);
        assert_eq!(rig.health().failed_trials, 1);
        rig.await_half_open().await;
        trial.answer(Ok("at last")).unwrap();
        assert_eq!(rig.state(), State::HalfOpen, "a late answer closes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn throttle_after_the_limit_still_extends_the_open_window() {
        let rig = Rig::new(timed());
        let mut permits = [rig.call(), rig.call()];
        for permit in &mut permits {
            let mut call = task::spawn(permit.run(pending::<()>()));
            assert_pending!(call.poll());
            advance(LIMIT).await;
            assert_pending!(call.poll());
        }
        assert_eq!(rig.state(), State::Open);
        let [permit, _] = permits;
        permit.throttled(Some(secs(600)), "slow down");
        assert!(rig.wait() >= secs(600));
    }

    #[tokio::test(start_paused = true)]
    async fn limit_that_a_later_policy_sets_is_not_for_calls_in_flight() {
        let rig = Rig::new(Policy::new());
        let mut call = Call::begin(&rig);
        rig.set_policy(timed());
        sleep(LIMIT).await;
        call.assert_waits();
        assert_eq!(rig.health().consecutive_failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn permit_that_is_run_is_judged_in_time() {
        let rig = Rig::new(timed());
        let mut permit = rig.call();
        let answer = permit.run(sleep(2 * LIMIT)).await;
        answer.unwrap();
        assert_eq!(rig.health().consecutive_failures, 1);
        permit.success();
        assert_eq!(rig.health().consecutive_failures, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_is_rounded_up_to_whole_milliseconds() {
        let limit = Duration::from_micros(1_500);
        let rig = Rig::new(Policy::new().trip(Trip::consecutive(2).slow_call(limit)));
        let within = rig.call();
        advance(Duration::from_micros(1_999)).await;
        within.success();
        assert_eq!(rig.health().consecutive_failures, 0);

        let too_slow = rig.call();
        advance(Duration::from_millis(2)).await;
        too_slow.success();
        assert_eq!(rig.health().consecutive_failures, 1);
    }

    /// Rule 2.
    #[tokio::test(start_paused = true)]
    async fn failure_that_hangs_on_is_counted_once() {
        let rig = Rig::new(timed());
        let mut permit = rig.call();
        permit.run(sleep(2 * LIMIT)).await.unwrap();
        permit.failure("down");
        assert_eq!(rig.health().consecutive_failures, 1);
        assert_eq!(rig.health().last_error.unwrap().label(), "slow");
    }
}

mod released {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_without_an_answer_end_when_the_breaker_opens() {
        let rig = Rig::new(releasing());
        let mut calls = [Call::begin(&rig), Call::begin(&rig), Call::begin(&rig)];
        rig.fail();
        calls.iter_mut().for_each(Call::assert_waits);

        rig.fail();
        calls.iter_mut().for_each(Call::assert_released);
        assert_eq!(rig.health().consecutive_failures, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn error_says_that_the_provider_was_called_and_when_it_can_be_again() {
        let rig = Rig::new(releasing());
        let mut call = Call::begin(&rig);
        rig.trip();

        let error = assert_ready_err!(call.future.poll());
        assert_eq!(Kind::of(&*error), Some(Kind::Released));
        assert!(Kind::Released.is_neutral());
        assert!(!error::is_refusal(&*error));
        assert_eq!(
            error.to_string(),
            "circuit breaker of `a` opened while the call waited, retry in 60.0s: down"
        );
        let refused = rig.admit().unwrap_err();
        assert!(!refused.is_released());
        assert!(error::is_refusal(&refused));
    }

    #[test]
    fn task_that_polled_the_call_last_is_woken() {
        let rig = Rig::new(releasing());
        let mut service = HealthLayer::new(rig.provider.clone())
            .layer(service_fn(|()| pending::<Result<(), BoxError>>()));
        let call = assert_ready_ok!(task::spawn(service.ready()).poll()).call(());
        // Each `Spawn` polls with a waker of its own.
        let mut call = Box::pin(call);
        let mut first = task::spawn(poll_fn(|_| Poll::<()>::Pending));
        assert_pending!(first.enter(|cx, _| call.as_mut().poll(cx)));
        let mut last = task::spawn(poll_fn(|_| Poll::<()>::Pending));
        assert_pending!(last.enter(|cx, _| call.as_mut().poll(cx)));

        rig.trip();
        assert!(last.is_woken());
        assert!(!first.is_woken());
        assert_ready_err!(last.enter(|cx, _| call.as_mut().poll(cx)));
    }

    #[test]
    fn call_that_has_ended_keeps_no_waker() {
        struct Task;
        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let (rig, task) = (Rig::new(releasing()), Arc::new(Task));
        let mut permit = rig.admit().unwrap();
        let waker = Arc::clone(&task).into();
        let mut call = Box::pin(permit.run(pending::<()>()));
        assert_pending!(call.as_mut().poll(&mut Context::from_waker(&waker)));
        assert_eq!(Arc::strong_count(&task), 3);
        drop((call, waker));
        permit.success();
        assert_eq!(Arc::strong_count(&task), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_hang_are_released_by_the_second_of_them() {
        let rig = Rig::new(timed().release_on_open(true));
        let mut first = Call::begin(&rig);
        advance(secs(1)).await;
        let (mut second, mut third) = (Call::begin(&rig), Call::begin(&rig));
        sleep(secs(2)).await;
        first.assert_waits();
        sleep(secs(1)).await;

        second.assert_released();
        first.assert_released();
        third.assert_released();
        assert_eq!(rig.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_is_there_is_returned() {
        let rig = Rig::new(releasing());
        let mut call = Call::begin(&rig);
        let answer = call.answer.take().unwrap();
        rig.trip();
        answer.send(Ok("here")).unwrap();
        assert_eq!(assert_ready_ok!(call.future.poll()), "here");
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_was_not_polled_before_the_breaker_opened_is_released_too() {
        let rig = Rig::new(releasing());
        let mut call = Call::unpolled(&rig);
        rig.trip();
        let error = assert_ready_err!(call.future.poll());
        assert!(error::find::<CircuitOpen>(&*error).unwrap().is_released());
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_is_first_polled_when_the_breaker_is_half_open_again_is_released() {
        let rig = Rig::new(releasing());
        let mut call = Call::unpolled(&rig);
        rig.trip();
        rig.await_half_open().await;
        let error = assert_ready_err!(call.future.poll());
        assert!(error::find::<CircuitOpen>(&*error).unwrap().is_released());
        rig.succeed();
        assert_eq!(rig.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn trial_that_follows_an_opening_is_not_released_by_it() {
        let rig = Rig::half_open(releasing()).await;
        let mut trial = Call::begin(&rig);
        trial.assert_waits();
        trial.answer(Ok("served")).unwrap();
        assert_eq!(rig.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn other_trials_are_released_when_one_fails() {
        let policy = releasing().trials(Trials::new(3));
        let rig = Rig::half_open(policy).await;
        let (mut one, mut two) = (Call::begin(&rig), Call::begin(&rig));
        rig.fail();
        assert_eq!(rig.state(), State::Open);
        one.assert_released();
        two.assert_released();
    }

    #[tokio::test(start_paused = true)]
    async fn trial_releases_its_slot() {
        let rig = Rig::half_open(releasing().trials(Trials::new(2))).await;
        let mut hung = Call::begin(&rig);
        rig.fail();
        hung.assert_released();
        rig.await_half_open().await;
        let _both = (rig.trial(), rig.trial());
    }

    #[tokio::test(start_paused = true)]
    async fn mark_that_trips_releases_too() {
        let rig = Rig::new(releasing());
        let mut call = Call::begin(&rig);
        rig.mark_unhealthy("reported");
        rig.mark_unhealthy("reported");
        call.assert_released();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_earlier_windows_are_released_by_the_next_failure() {
        let rig = Rig::new(releasing());
        let mut old = Call::begin(&rig);
        rig.throttle(secs(1));
        old.assert_waits();
        rig.await_half_open().await;
        rig.fail();
        old.assert_released();
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_that_opens_for_another_cause_releases_nobody() {
        let throttled: fn(&Rig) = |rig| rig.throttle(secs(60));
        let forced: fn(&Rig) = |rig| rig.force(Override::Open, secs(60), "maintenance");
        for opens in [throttled, forced] {
            let rig = Rig::new(releasing());
            let mut call = Call::begin(&rig);
            opens(&rig);
            assert_eq!(rig.state(), State::Open);
            call.assert_waits();
            call.answer(Ok("served")).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_checks_release_nobody() {
        let rig = Rig::new(releasing());
        let mut call = Call::begin(&rig);
        let probe = tower_health::HealthProbe::new(&rig.cache)
            .check(Rig::ID, || async { Err::<(), _>("unreachable") });
        for _ in 0..2 {
            probe.round().await;
        }
        assert_eq!(rig.health().cause, Some(Cause::Probe));
        call.assert_waits();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_released_beneath_an_override_or_in_shadow_mode() {
        let forced = Rig::new(releasing());
        forced.force(Override::Closed, secs(60), "trust me");
        let shadow = Rig::new(releasing().observe_only(true));
        for rig in [forced, shadow] {
            let mut call = Call::begin(&rig);
            for _ in 0..3 {
                rig.fail();
            }
            call.assert_waits();
            call.answer(Ok("served")).unwrap();
        }
    }

    /// Even if it has become slow, and the override has ended.
    #[tokio::test(start_paused = true)]
    async fn call_that_an_override_admitted_is_never_released() {
        let trip = Trip::consecutive(1).slow_call(LIMIT);
        let rig = Rig::open(releasing().trip(trip));
        rig.force(Override::Closed, secs(10), "trust me");
        let mut call = Call::begin(&rig);
        call.assert_waits();
        advance(LIMIT).await;
        call.assert_waits();
        rig.unforce();
        advance(secs(60)).await;
        rig.trial().failure("down");
        assert_eq!(rig.state(), State::Open);
        call.assert_waits();
        call.answer(Ok("served")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_released_by_default() {
        let rig = Rig::new(Policy::new());
        let mut call = Call::begin(&rig);
        rig.trip();
        call.assert_waits();
    }

    #[tokio::test(start_paused = true)]
    async fn releases_nobody_of_another_provider() {
        let cache = HealthCache::new(releasing());
        let (ill, well) = (cache.provider("ill"), cache.provider("well"));
        let mut call = Call::begin(&well);
        for _ in 0..2 {
            ill.admit().unwrap().failure("down");
        }
        call.assert_waits();
    }

    /// A new provider reuses the slot of one that is gone.
    #[tokio::test(start_paused = true)]
    async fn call_of_a_provider_that_is_gone_is_not_released_by_the_next() {
        let mut call = {
            let rig = Rig::new(releasing());
            Call::begin(&rig)
        };
        // The call's service is gone too, so no handle is left.
        for _ in 0..64 {
            let next = Rig::new(releasing());
            next.trip();
            call.assert_waits();
            std::mem::forget(next);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_on_many_threads_are_all_released() {
        const CALLS: usize = 400;
        let rig = Rig::new(releasing());
        let begun = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (provider, begun) = (rig.provider.clone(), begun.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let calls: Vec<_> = (0..CALLS / 8)
                            .map(|_| {
                                let (provider, begun) = (provider.clone(), begun.clone());
                                tokio::spawn(async move {
                                    let mut is_new = true;
                                    let hangs = poll_fn(move |_| {
                                        begun.fetch_add(usize::from(is_new), SeqCst);
                                        is_new = false;
                                        Poll::<io::Result<()>>::Pending
                                    });
                                    provider.call(hangs).await.unwrap_err()
                                })
                            })
                            .collect();
                        for call in calls {
                            let error = call.await.unwrap();
                            assert!(error::find::<CircuitOpen>(&*error).unwrap().is_released());
                        }
                    });
                })
            })
            .collect();
        while begun.load(SeqCst) < CALLS {
            std::thread::yield_now();
        }
        rig.trip();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// A release needs no timer.
    #[test]
    fn works_without_a_runtime() {
        let rig = Rig::new(releasing());
        let mut call = task::spawn(rig.provider.call(pending::<io::Result<()>>()));
        assert_pending!(call.poll());
        rig.trip();
        assert!(call.is_woken());
        assert_ready_err!(call.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn permit_that_is_run_is_released_and_can_still_record() {
        let rig = Rig::new(without_jitter(releasing()));
        let mut permit = rig.call();
        let mut call = task::spawn(permit.run(pending::<()>()));
        assert_pending!(call.poll());
        rig.trip();
        assert!(assert_ready_err!(call.poll()).is_released());
        drop(call);
        permit.throttled(Some(secs(600)), "slow down");
        assert_eq!(rig.wait(), secs(600));
    }
}

#[tokio::test(start_paused = true)]
async fn ready_policy_judges_releases_and_comes_back_soon() {
    let rig = Rig::new(Policy::failover_after(LIMIT));
    let mut calls = [Call::begin(&rig), Call::begin(&rig)];
    sleep(LIMIT).await;
    calls[0].assert_waits();
    calls[1].assert_released();
    calls[0].assert_released();

    let wait = rig.wait();
    assert!((secs(1) / 2..=secs(1)).contains(&wait), "{wait:?}");
    advance(wait).await;
    rig.succeed();
    assert_eq!(rig.state(), State::HalfOpen);
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
}
