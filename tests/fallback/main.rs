//! The chain serves from the first provider that can, and says why the others did not.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    future::{Ready, pending, ready},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    buffer::Buffer,
    retry::{Policy as RetryPolicy, RetryLayer},
    service_fn,
    timeout::TimeoutLayer,
    util::BoxCloneSyncService,
};
use tower_health::{
    Advance, Backoff, BoxError, Classify, Exhausted, FallbackChain, GuardRule, Health, HealthCache,
    HealthLayer, Outcome, Override, Permit, Policy, Provider, Reason, ServedBy, State, Trials,
    error::{Attempt, CircuitOpen, NoHealthyProvider, find, is_refusal},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

// The order.

#[tokio::test(start_paused = true)]
async fn first_provider_serves_and_no_other_is_touched() {
    let [a, b] = stubs();
    let chain = chain_of([&a, &b]);
    let clones = b.clones();

    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!((b.clones(), b.polls(), b.calls()), (clones, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn failure_goes_on_to_the_next_in_order() {
    let [a, b, c] = stubs();
    a.fails("timeout");
    b.fails("connection refused");

    assert_eq!(ask(&chain_of([&a, &b, &c])).await.unwrap(), "c");
    assert_eq!([&a, &b, &c].map(Stub::calls), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn one_pass_tries_each_provider_once() {
    let [a, b] = stubs();
    a.fails("timeout");
    b.fails("timeout");

    ask(&chain_of([&a, &b])).await.unwrap_err();
    assert_eq!([&a, &b].map(Stub::calls), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn provider_is_waited_for_until_it_is_ready() {
    let [a, b] = stubs();
    a.is_unready();
    let mut call = task::spawn(chain_of([&a, &b]).call(()));
    assert_pending!(call.poll());

    a.serves();
    assert!(call.is_woken());
    assert_eq!(assert_ready_ok!(call.poll()), "a");
}

#[tokio::test(start_paused = true)]
async fn chain_is_always_ready() {
    let [a] = stubs();
    a.is_unready();
    let mut chain = task::spawn(chain_of::<(), 1>([&a]));
    assert_ready_ok!(chain.enter(|cx, mut chain| chain.poll_ready(cx)));
    assert_eq!(a.polls(), 0);
}

// Skips.

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

/// Many callers find one slot free; all but one are refused by the layer, behind the chain's back.
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
    // Neither returned as an error, nor counted as the one try.
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
    assert_eq!(&*error.downcast::<CircuitOpen>().unwrap().provider, "b");
}

// The rule.

#[tokio::test(start_paused = true)]
async fn error_that_the_rule_returns_reaches_the_caller_unchanged() {
    let [a, b] = stubs();
    a.fails("bad request");
    let chain = chain_of([&a, &b])
        .advance_when(|result| result.is_err_and(|error| error.to_string() != "bad request"));

    let error = chain.oneshot(()).await.unwrap_err();
    assert_eq!(error.downcast::<Failed>().unwrap().0, "bad request");
    assert_eq!(b.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn response_that_the_rule_does_not_want_goes_on() {
    let [a, b] = stubs();
    let chain = chain_of([&a, &b]).advance_when(|result| result.is_ok_and(|name| *name == "a"));

    assert_eq!(chain.oneshot(()).await.unwrap(), "b");
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn unwanted_response_of_the_last_provider_is_an_attempt() {
    let [a, b] = stubs();
    a.fails("timeout");
    let chain = chain_of([&a, &b]).advance_when(|_| true);

    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: timeout", "`b`: unwanted response"]
    );
    // The last error, not the last attempt.
    assert_eq!(error.source().unwrap().to_string(), "timeout");
}

#[tokio::test(start_paused = true)]
async fn rule_gives_its_own_reason_and_is_told_who_served() {
    #[derive(Clone)]
    struct Signed;
    impl Advance<String> for Signed {
        fn advance(&self, result: Result<&String, &BoxError>) -> Option<Reason> {
            result.is_ok_and(|name| name == "b").then(|| "503".into())
        }

        fn served(&self, response: &mut String, served_by: impl FnOnce() -> ServedBy) {
            let ServedBy {
                provider, attempts, ..
            } = served_by();
            *response = format!("{provider} after {:?}", lines(&attempts));
        }
    }
    let [a, b, c] = stubs();
    a.open();
    let text = |stub: &Stub| ServiceExt::<()>::map_response(stub.stack(), str::to_owned);
    let chain = FallbackChain::new()
        .entry(a.provider(), text(&a))
        .entry(b.provider(), text(&b))
        .entry(c.provider(), text(&c))
        .advance(Signed);

    assert_eq!(
        chain.oneshot(()).await.unwrap(),
        r#"c after ["`a`: circuit open", "`b`: 503"]"#
    );
}

#[tokio::test(start_paused = true)]
async fn error_of_readiness_is_an_attempt_like_another() {
    let [a, b] = stubs();
    a.is_broken("connection lost");
    b.fails("timeout");

    let error = no_provider(ask(&chain_of([&a, &b])).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: connection lost", "`b`: timeout"]
    );
    assert_eq!(a.calls(), 0);

    let returned = chain_of([&a, &b]).advance_when(|_| false).oneshot(());
    assert_eq!(returned.await.unwrap_err().to_string(), "connection lost");
}

// The request.

#[tokio::test(start_paused = true)]
async fn request_is_not_cloned_for_the_last_entry() {
    let [a, b, c] = stubs();
    let request = Counted::default();
    let only = chain_of([&a]);
    only.oneshot(request.handle()).await.unwrap();
    assert_eq!(request.clones(), 0);

    a.fails("timeout");
    b.fails("timeout");
    let all = chain_of([&a, &b, &c]);
    all.oneshot(request.handle()).await.unwrap();
    assert_eq!((request.clones(), c.calls()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn request_is_not_cloned_for_entries_that_do_not_take_it() {
    let [a, b] = stubs();
    let request = Counted::default();
    let chain = chain_of([&a]).entry_if(b.provider(), b.stack(), |_: &Counted| false);

    chain.oneshot(request.handle()).await.unwrap();
    assert_eq!(request.clones(), 0);
}

#[tokio::test(start_paused = true)]
async fn request_is_kept_for_a_second_chance() {
    let [a, b] = stubs();
    a.open();
    b.fails("timeout");
    let request = Counted::default();
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    assert_eq!(chain.oneshot(request.handle()).await.unwrap(), "a");
    assert_eq!((request.clones(), b.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn request_need_not_be_sendable_nor_live_for_ever() {
    async fn measure((_, text): (Rc<()>, &str)) -> Result<usize, BoxError> {
        Ok(text.len())
    }
    let text = String::from("borrowed");
    let [a] = stubs();
    let chain = FallbackChain::new().entry(a.provider(), service_fn(measure));

    assert_eq!(chain.oneshot((Rc::new(()), &*text)).await.unwrap(), 8);
}

#[test]
fn chain_and_future_can_cross_threads() {
    fn crosses<T: Send + Sync>(_: &T) {}
    fn moves<T: Send + 'static>(_: &T) {}
    let [a] = stubs();
    let mut chain = chain_of([&a]);
    crosses(&chain);
    moves(&chain.call(()));
}

/// As a handler of a server does it; `oneshot` cannot, for rustc does not see that it is `Send`.
#[tokio::test(start_paused = true)]
async fn chain_of_boxed_stacks_is_called_from_a_task() {
    let [a] = stubs();
    let mut chain = FallbackChain::new().entry(a.provider(), BoxCloneSyncService::new(a.stack()));
    let task = tokio::spawn(async move { chain.call(()).await.unwrap() });
    assert_eq!(task.await.unwrap(), "a");
}

// The end.

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
    // The second failure trips both, but neither has refused.
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

// The limits.

#[tokio::test(start_paused = true)]
async fn deadline_ends_the_whole_and_lists_the_call_that_ran() {
    let [a, b, c] = stubs();
    a.fails_after(SECOND, "timeout");
    b.hangs();
    let before = Instant::now();

    let error = no_provider(ask(&chain_of([&a, &b, &c]).deadline(3 * SECOND)).await);
    assert_eq!(before.elapsed(), 3 * SECOND);
    assert_eq!(
        lines(&error.attempts),
        [
            "`a`: timeout (after 1.0s)",
            "`b`: deadline exceeded (after 2.0s)"
        ]
    );
    assert_eq!(error.source().unwrap().to_string(), "timeout");
    assert_eq!(c.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn deadline_bounds_the_wait_for_readiness() {
    let [a] = stubs();
    a.is_unready();
    let error = no_provider(ask(&chain_of([&a]).deadline(SECOND)).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: deadline exceeded (after 1.0s)"]
    );
}

#[tokio::test(start_paused = true)]
async fn no_provider_is_called_once_the_deadline_has_passed() {
    let [a, b] = stubs();
    a.fails_after(SECOND, "timeout");
    let mut call = task::spawn(chain_of([&a, &b]).deadline(2 * SECOND).call(()));
    assert_pending!(call.poll());
    // The task is woken late: the call has failed in time, and is seen after it.
    advance(5 * SECOND).await;

    let error = no_provider(Err(assert_ready_err!(call.poll())));
    assert_eq!(lines(&error.attempts), ["`a`: timeout (after 5.0s)"]);
    assert_eq!((b.polls(), b.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn deadline_drops_the_running_call_and_counts_nothing() {
    let [a] = stubs();
    a.hangs();
    let mut call = task::spawn(chain_of([&a]).deadline(SECOND).call(()));
    assert_pending!(call.poll());
    assert_eq!(a.running(), 1);

    advance(SECOND).await;
    assert_ready_err!(call.poll());
    // At once, and not only when the future is dropped.
    assert_eq!(a.running(), 0);
    assert_eq!(a.provider().health().consecutive_failures, 0);
}

#[test]
fn chain_without_deadline_needs_no_timer() {
    let [a, b] = stubs();
    a.open();
    // Outside a runtime a timer would panic.
    let mut call = task::spawn(chain_of([&a, &b]).call(()));
    assert_eq!(assert_ready_ok!(call.poll()), "b");
}

#[tokio::test(start_paused = true)]
async fn max_attempts_counts_tries_and_not_skips() {
    let [a, b, c, d] = stubs();
    a.open();
    b.fails("timeout");
    c.fails("connection refused");
    let chain = chain_of([&a, &b, &c, &d]).max_attempts(2);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        [
            "`a`: circuit open",
            "`b`: timeout",
            "`c`: connection refused"
        ]
    );
    assert_eq!(d.calls(), 0);
}

#[test]
#[should_panic = "`FallbackChain::max_attempts` must be at least 1, got 0"]
fn no_attempts_at_all_are_refused() {
    let _ = chain_of::<(), 0>([]).max_attempts(0);
}

#[test]
#[should_panic = "`FallbackChain::deadline` must be longer than zero, got 0ns"]
fn no_time_at_all_is_refused() {
    let _ = chain_of::<(), 0>([]).deadline(Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn end_of_a_chain_is_a_refusal_only_where_nobody_was_called() {
    let [a, b] = stubs();
    let chain = || chain_of([&a, &b]).when_exhausted(Exhausted::Fail);
    a.open();
    b.fails("timeout");
    assert!(!is_refusal(&*ask(&chain()).await.unwrap_err()));
    b.open();
    let refused = ask(&chain()).await.unwrap_err();
    assert!(is_refusal(&*refused));
    assert!(is_refusal(&std::io::Error::other(refused)));

    let empty = ask(&chain_of::<(), 0>([])).await.unwrap_err();
    assert!(!is_refusal(&*empty));
    assert!(is_refusal(&a.provider().admit().unwrap_err()));
    assert!(!is_refusal(&Failed("circuit open")));
}

#[tokio::test(start_paused = true)]
async fn closure_sees_an_error_that_can_be_searched_and_downcast() {
    let [a, b] = stubs();
    a.fails("timeout");
    let chain = chain_of([&a, &b]).advance_when(|result| {
        result.is_err_and(|error| {
            assert!(find::<CircuitOpen>(error).is_none());
            error.downcast_ref::<Failed>().is_some()
        })
    });
    assert_eq!(chain.oneshot(()).await.unwrap(), "b");
}

#[test]
#[should_panic = "`Exhausted::Wait` must be longer than zero, got 0ns"]
fn wait_of_no_time_at_all_is_refused() {
    let _ = chain_of::<(), 0>([]).when_exhausted(Exhausted::Wait(Duration::ZERO));
}

// Half-open.

/// Scenario 42.
#[tokio::test(start_paused = true)]
async fn of_80_callers_of_a_half_open_provider_one_reaches_it() {
    let [a, b] = stubs();
    a.is_half_open().await;
    a.serves_after(SECOND);

    let served = ask_at_once(80, &chain_of([&a, &b])).await;
    assert_eq!(served, [("a", 1), ("b", 79)]);
    assert_eq!((a.calls(), b.calls()), (1, 79));
}

/// Scenario 42, where all 80 have found the slot free before the first of them takes it.
#[tokio::test(start_paused = true)]
async fn of_80_callers_that_race_for_a_trial_one_reaches_it() {
    let [a, b] = stubs();
    a.is_half_open().await;
    a.is_unready();
    let chain = chain_of([&a, &b]);
    let mut calls: Vec<_> = (0..80)
        .map(|_| task::spawn(chain.clone().call(())))
        .collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(a.polls(), 80);

    a.serves_after(SECOND);
    assert_pending!(calls.remove(0).poll());
    for mut call in calls {
        assert_eq!(assert_ready_ok!(call.poll()), "b");
    }
    assert_eq!(a.calls(), 1);
}

/// Rule 3; scenario 3.
#[tokio::test(start_paused = true)]
async fn dropped_future_frees_the_trial_slot() {
    let [a] = stubs();
    a.is_half_open().await;
    a.hangs();
    let mut call = task::spawn(chain_of([&a]).call(()));
    assert_pending!(call.poll());
    assert!(!a.provider().is_healthy());

    drop(call);
    assert_eq!(a.provider().health().retry_in, Some(SECOND));
    advance(SECOND).await;
    assert!(a.provider().admit().unwrap().is_trial());
}

/// Scenario 43.
#[tokio::test(start_paused = true)]
async fn nobody_notices_a_provider_that_flaps_for_ten_minutes() {
    let cache = HealthCache::default();
    let [a, b] = stubs_of(&cache);
    let chain = chain_of([&a, &b]);
    let mut transitions = cache.subscribe();

    for second in 0..600 {
        match second % 10 {
            0 => a.serves(),
            5 => a.fails("connection refused"),
            _ => {}
        }
        for _ in 0..10 {
            ask(&chain).await.unwrap();
            advance(SECOND / 10).await;
        }
    }

    drop((cache, chain, a, b));
    let mut changes = 0;
    while transitions.recv().await.is_some() {
        changes += 1;
    }
    // A minute in each open window, so no more than ten of them, each with a beginning, a trial and an end.
    assert!((3..=30).contains(&changes), "{changes} transitions");
}

/// Scenario 45.
#[tokio::test(start_paused = true)]
async fn caller_who_walks_away_three_times_says_nothing_of_the_provider() {
    let [a, b] = stubs();
    a.hangs();
    for _ in 0..3 {
        let mut call = task::spawn(chain_of([&a, &b]).call(()));
        assert_pending!(call.poll());
    }
    let health = a.provider().health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!((a.running(), b.calls()), (0, 0));
}

// Exhausted: wait.

#[tokio::test(start_paused = true)]
async fn wait_tries_the_first_provider_to_come_back() {
    let [a, b] = stubs();
    a.open();
    b.open_for(5 * SECOND);
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::Wait(MINUTE));
    let before = Instant::now();

    assert_eq!(ask(&chain).await.unwrap(), "b");
    assert_eq!(before.elapsed(), 5 * SECOND);
    assert_eq!(a.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_early_when_the_breaker_closes() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(MINUTE));
    let mut call = task::spawn(chain.clone().call(()));
    assert_pending!(call.poll());
    advance(SECOND).await;
    assert!(!call.is_woken());

    a.provider().mark_healthy();
    assert!(call.is_woken());
    assert_eq!(assert_ready_ok!(call.poll()), "a");
}

#[tokio::test(start_paused = true)]
async fn wait_is_no_longer_than_its_bound() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(7 * SECOND));
    let before = Instant::now();

    let error = no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), 7 * SECOND);
    assert_eq!(error.retry_in, Some(53 * SECOND));
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
}

#[tokio::test(start_paused = true)]
async fn wait_is_no_longer_than_the_deadline() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a])
        .when_exhausted(Exhausted::Wait(MINUTE))
        .deadline(3 * SECOND);
    let before = Instant::now();

    let error = no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), 3 * SECOND);
    assert_eq!(error.retry_in, Some(57 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn wait_is_for_nothing_where_no_breaker_refused() {
    let [a] = stubs();
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(MINUTE));
    let before = Instant::now();

    no_provider(ask(&chain).await);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn try_after_the_wait_is_the_last() {
    let [a] = stubs();
    a.open_for(5 * SECOND);
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(10 * MINUTE));

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`a`: timeout"]
    );
    assert_eq!(error.retry_in, Some(5 * SECOND));
    assert_eq!(a.calls(), 1);
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn wait_of_100_callers_is_no_stampede() {
    let [a] = stubs();
    a.open();
    a.serves_after(2 * SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(2 * MINUTE));
    let callers = tokio::spawn(async move { ask_at_once(100, &chain).await });

    sleep(MINUTE + SECOND).await;
    assert_eq!((a.running(), a.calls()), (1, 1));
    // The trial closes the breaker, and all the others are served.
    assert_eq!(callers.await.unwrap(), [("a", 100)]);
    assert_eq!(a.calls(), 100);
}

/// Rule 4.
#[tokio::test(start_paused = true)]
async fn failed_trial_keeps_the_other_99_waiting() {
    let [a] = stubs();
    a.open();
    a.fails("timeout");
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(5 * MINUTE + SECOND));
    let served = ask_at_once(100, &chain).await;

    // One trial a window, and then all give up.
    assert!(served.is_empty());
    assert_eq!(a.calls(), 5);
}

/// The caller wakes, and while its service gets ready another takes the slot.
#[tokio::test(start_paused = true)]
async fn caller_who_is_overtaken_waits_on() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::Wait(2 * MINUTE));
    let mut call = task::spawn(chain.clone().call(()));
    assert_pending!(call.poll());
    a.is_unready();
    advance(MINUTE).await;
    assert_pending!(call.poll());

    let trial = a.provider().admit().unwrap();
    a.serves();
    assert_pending!(call.poll());
    assert_eq!(a.calls(), 0);
    trial.success();
    assert_eq!(call.await.unwrap(), "a");
}

/// The provider of the entry is not the one of its stack: the one admits, the other refuses.
#[tokio::test(start_paused = true)]
async fn wait_for_a_breaker_that_is_not_the_stacks_own_ends_too() {
    let [a] = stubs();
    a.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .when_exhausted(Exhausted::Wait(SECOND));
    let before = Instant::now();

    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(before.elapsed(), SECOND);
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
    assert_eq!(error.retry_in, Some(Duration::ZERO));
}

// Exhausted: last resort.

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_tries_an_open_provider_once() {
    let [a] = stubs();
    a.open();
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(a.calls(), 1);
    assert_eq!(a.provider().health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn last_resort_that_fails_is_an_attempt_of_its_own() {
    let [a, b] = stubs();
    a.open();
    a.fails("still down");
    b.fails("timeout");
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`b`: timeout", "`a`: still down"]
    );
    assert_eq!(error.retry_in, Some(MINUTE));
    assert_eq!(error.source().unwrap().to_string(), "still down");
}

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_tries_a_provider_once_a_second() {
    let [a] = stubs();
    a.open();
    a.fails("still down");
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);
    for _ in 0..100 {
        no_provider(ask(&chain).await);
        advance(SECOND / 10).await;
    }
    assert_eq!(a.calls(), 10);
}

#[tokio::test(start_paused = true)]
async fn last_resort_takes_the_first_that_grants_a_trial() {
    let [throttled, forced, willing, never_needed] = stubs();
    throttled.throttled_for(MINUTE);
    let ttl = 10 * MINUTE;
    forced.provider().force(Override::Open, ttl, "maintenance");
    willing.open();
    never_needed.open();
    let chain = chain_of([&throttled, &forced, &willing, &never_needed])
        .when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "c");
    assert_eq!(
        [&throttled, &forced, &willing, &never_needed].map(Stub::calls),
        [0, 0, 1, 0]
    );
}

/// Scenario 46.
#[tokio::test(start_paused = true)]
async fn last_resort_never_comes_before_a_time_that_the_provider_named() {
    let [a] = stubs();
    a.throttled_for(7 * SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    let error = no_provider(ask(&chain).await);
    assert_eq!(error.retry_in, Some(7 * SECOND));
    advance(Duration::from_millis(6_999)).await;
    no_provider(ask(&chain).await);
    assert_eq!(a.calls(), 0);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&chain).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn last_resort_of_80_callers_is_one_call() {
    let [a] = stubs();
    a.open();
    a.serves_after(SECOND);
    let chain = chain_of([&a]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask_at_once(80, &chain).await, [("a", 1)]);
    assert_eq!(a.calls(), 1);
}

/// The provider of the entry is not the one of its stack: the one admits, the other refuses.
#[tokio::test(start_paused = true)]
async fn last_resort_that_is_refused_ends_the_chain() {
    let [a] = stubs();
    a.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .when_exhausted(Exhausted::LastResort);

    let error = no_provider(chain.oneshot(()).await);
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
}

/// The provider comes back while the rest of the chain is tried.
#[tokio::test(start_paused = true)]
async fn last_resort_is_the_provider_that_has_come_back_by_then() {
    let [a, b] = stubs();
    a.open_for(SECOND);
    b.fails_after(2 * SECOND, "timeout");
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::LastResort);

    assert_eq!(ask(&chain).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn second_chances_count_as_attempts() {
    for exhausted in [Exhausted::LastResort, Exhausted::Wait(2 * MINUTE)] {
        let [a, b] = stubs();
        a.open();
        b.fails("timeout");
        let chain = chain_of([&a, &b]).max_attempts(1).when_exhausted(exhausted);

        no_provider(ask(&chain).await);
        assert_eq!([&a, &b].map(Stub::calls), [0, 1]);
    }
}

/// One bad request that was sent to every provider.
#[tokio::test(start_paused = true)]
async fn last_resort_is_the_default() {
    let [a, b] = stubs();
    for stub in [&a, &b] {
        stub.fails("what a request");
    }
    let chain = chain_of([&a, &b]);
    for _ in 0..2 {
        no_provider(ask(&chain).await);
    }
    assert!(!a.provider().is_healthy() && !b.provider().is_healthy());

    for stub in [&a, &b] {
        stub.serves();
    }
    assert_eq!(ask(&chain).await.unwrap(), "a");
    assert_eq!(Exhausted::default(), Exhausted::LastResort);
}

/// The breaker of the first stack is not the one that the chain asks: it refuses what was granted.
#[tokio::test(start_paused = true)]
async fn last_resort_that_is_refused_leaves_it_to_the_next() {
    let [a, b] = stubs();
    a.open();
    b.open();
    let namesake = HealthCache::default().provider("a");
    let chain = FallbackChain::new()
        .entry(namesake, a.stack())
        .entry(b.provider(), b.stack());

    let request = Counted::default();
    assert_eq!(chain.oneshot(request.handle()).await.unwrap(), "b");
    assert_eq!((a.calls(), b.calls()), (0, 1));
}

/// The last entry was given the request itself, and its layer refuses it, behind the chain's back.
#[tokio::test(start_paused = true)]
async fn last_resort_needs_a_request_that_is_left() {
    let [a] = stubs();
    a.is_half_open().await;
    a.is_unready();
    let request = Counted::default();
    let mut call = task::spawn(chain_of([&a]).call(request.handle()));
    assert_pending!(call.poll());

    let trial = a.provider().admit().unwrap();
    a.serves();
    let error = no_provider(Err(assert_ready_err!(call.poll())));
    assert_eq!(lines(&error.attempts), ["`a`: circuit open"]);
    assert_eq!(request.clones(), 0);
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn expired_deadline_spends_no_trial() {
    let [a, b] = stubs();
    a.open();
    b.fails_after(SECOND, "timeout");
    let mut call = task::spawn(chain_of([&a, &b]).deadline(2 * SECOND).call(()));
    assert_pending!(call.poll());
    advance(5 * SECOND).await;

    let error = no_provider(Err(assert_ready_err!(call.poll())));
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`b`: timeout (after 5.0s)"]
    );
    assert_eq!(a.provider().health().state, State::Open);
}

/// Two models of one provider: an outage of the one is an outage of both.
#[tokio::test(start_paused = true)]
async fn provider_that_is_listed_twice_is_skipped_twice_and_granted_one_trial() {
    let [a] = stubs();
    a.fails("down");
    let chain = chain_of([&a, &a]);
    no_provider(ask(&chain).await);
    assert_eq!(a.calls(), 2);

    let error = no_provider(ask(&chain).await);
    assert_eq!(
        lines(&error.attempts),
        ["`a`: circuit open", "`a`: circuit open", "`a`: down"]
    );
}

// Exhausted: fail open.

#[tokio::test(start_paused = true)]
async fn where_all_fail_open_every_call_is_made() {
    let [a, b] = stubs();
    for stub in [&a, &b] {
        stub.open();
        stub.serves_after(SECOND / 10);
    }
    let chain = chain_of([&a, &b]).when_exhausted(Exhausted::FailOpen);

    assert_eq!(ask_at_once(100, &chain).await, [("a", 100)]);
    // One of them was a trial.
    assert_eq!(a.provider().health().state, State::Closed);
    assert_eq!(b.provider().health().state, State::Open);
}

/// The last entry stands for the provider whatever its health.
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

/// Rule 2: beside the trial of each second, calls that are made all the same decide nothing.
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

/// A throttle while the chain calls them anyway.
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

/// What runs in another task does not see the chain around it.
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

/// Overriding one provider's breaker overrides no other's.
#[tokio::test(start_paused = true)]
async fn fail_open_is_for_the_entrys_own_breaker() {
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

// The last answer.

#[tokio::test(start_paused = true)]
async fn last_answer_is_returned_where_nobody_gives_a_better_one() {
    let [a, b] = stubs();
    let unwanted = || chain_of([&a, &b]).advance_when(|_| true);
    no_provider(unwanted().oneshot(()).await);
    let last = unwanted().last_answer(true);
    assert_eq!(last.clone().oneshot(()).await.unwrap(), "b");

    // An answer is better than an error that came after it.
    b.fails("timeout");
    assert_eq!(last.clone().oneshot(()).await.unwrap(), "a");
    // Where there is none, the error has what there is.
    a.fails("reset");
    let error = no_provider(last.oneshot(()).await);
    assert_eq!(lines(&error.attempts), ["`a`: reset", "`b`: timeout"]);
    assert_eq!(error.source().unwrap().to_string(), "timeout");
}

#[tokio::test(start_paused = true)]
async fn last_answer_comes_after_what_is_left_when_exhausted() {
    let [a, b] = stubs();
    a.open_for(5 * SECOND);
    let chain = chain_of([&a, &b])
        .advance_when(|result| result.is_ok_and(|name| *name == "b"))
        .last_answer(true);

    let fails = chain.clone().when_exhausted(Exhausted::Fail);
    assert_eq!(fails.oneshot(()).await.unwrap(), "b");
    let before = Instant::now();
    let impatient = chain.clone().when_exhausted(Exhausted::Wait(SECOND));
    assert_eq!(impatient.oneshot(()).await.unwrap(), "b");
    assert_eq!(before.elapsed(), SECOND);
    assert_eq!(
        chain.clone().max_attempts(1).oneshot(()).await.unwrap(),
        "b"
    );
    let resort = chain.clone().when_exhausted(Exhausted::LastResort);
    assert_eq!(resort.oneshot(()).await.unwrap(), "a");

    a.hangs();
    b.serves();
    let late = chain_of([&b, &a])
        .advance_when(|result| result.is_ok())
        .deadline(SECOND)
        .last_answer(true);
    assert_eq!(late.oneshot(()).await.unwrap(), "b");
}

// Guarded entries.

#[tokio::test(start_paused = true)]
async fn guarded_provider_is_judged_and_skipped() {
    let [a, b] = stubs();
    a.fails("timeout");
    let chain = FallbackChain::new()
        .guard(a.provider(), a.clone())
        .guard_if(b.provider(), b.clone(), |&prompt: &u32| prompt < 10);

    for _ in 0..3 {
        assert_eq!(chain.clone().oneshot(1).await.unwrap(), "b");
    }
    assert_eq!((a.calls(), b.calls()), (2, 3));
    assert!(!a.provider().is_healthy());
    let error = no_provider(chain.oneshot(10).await);
    assert_eq!(lines(&error.attempts)[1], "`b`: not eligible");
}

/// Bad requests are neither failures nor sent on: one rule for both.
#[tokio::test(start_paused = true)]
async fn guarded_provider_is_judged_by_the_classifier_of_the_rule() {
    #[derive(Clone)]
    struct BadRequests;
    impl<Res> Advance<Res> for BadRequests {
        fn advance(&self, result: Result<&Res, &BoxError>) -> Option<Reason> {
            let error = result.err().filter(|it| it.to_string() != "bad request")?;
            Some(Reason::error(&**error))
        }
    }
    impl<Res> Classify<Res, BoxError> for BadRequests {
        type Response = Res;
        fn classify(&self, result: Result<Res, BoxError>, permit: Permit) -> Result<Res, BoxError> {
            match Advance::advance(self, result.as_ref()) {
                Some(reason) => permit.failure(reason),
                None => permit.answered(),
            }
            result
        }
    }
    impl GuardRule for BadRequests {
        type Classifier = Self;
        fn classifier(&self) -> Self {
            self.clone()
        }
    }
    let [a, b] = stubs();
    a.fails("bad request");
    let chain = FallbackChain::new()
        .advance(BadRequests)
        .guard(a.provider(), a.clone())
        .guard(b.provider(), b.clone());

    for _ in 0..5 {
        let error = chain.clone().oneshot(()).await.unwrap_err();
        assert_eq!(error.to_string(), "bad request");
    }
    assert!(a.provider().is_healthy());
    a.fails("timeout");
    for _ in 0..2 {
        assert_eq!(chain.clone().oneshot(()).await.unwrap(), "b");
    }
    assert!(!a.provider().is_healthy());
}

// Whole stacks.

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

    // Two timeouts, of which the second trips; then no time is lost.
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

// What the tests are made of.

/// A provider's client that does as it is told, and counts what is done to it.
struct Stub {
    provider: Provider,
    shared: Arc<Shared>,
    is_ready: bool,
}

struct Shared {
    name: &'static str,
    behaviour: Mutex<Behaviour>,
    unready: Mutex<Vec<Waker>>,
    clones: AtomicUsize,
    polls: AtomicUsize,
    calls: AtomicUsize,
    running: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Behaviour {
    Serves { after: Duration },
    Fails { after: Duration, with: &'static str },
    Hangs,
    IsUnready,
    IsBroken { with: &'static str },
}

#[derive(Debug)]
struct Failed(&'static str);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Failed {}

/// Well behaved clients of the providers `a`, `b`, `c` and `d` of one cache.
fn stubs<const N: usize>() -> [Stub; N] {
    stubs_of(&HealthCache::default())
}

fn stubs_of<const N: usize>(cache: &HealthCache) -> [Stub; N] {
    std::array::from_fn(|index| {
        let name = ["a", "b", "c", "d"][index];
        Stub {
            provider: cache.provider(name),
            shared: Arc::new(Shared {
                name,
                behaviour: Mutex::new(Behaviour::Serves {
                    after: Duration::ZERO,
                }),
                unready: Mutex::default(),
                clones: AtomicUsize::new(0),
                polls: AtomicUsize::new(0),
                calls: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
            }),
            is_ready: false,
        }
    })
}

impl Stub {
    fn provider(&self) -> Provider {
        self.provider.clone()
    }

    fn stack(&self) -> Health<Stub> {
        HealthLayer::new(self.provider()).layer(self.clone())
    }

    fn serves(&self) {
        self.serves_after(Duration::ZERO);
    }

    fn serves_after(&self, after: Duration) {
        self.behaves(Behaviour::Serves { after });
    }

    fn fails(&self, with: &'static str) {
        self.fails_after(Duration::ZERO, with);
    }

    fn fails_after(&self, after: Duration, with: &'static str) {
        self.behaves(Behaviour::Fails { after, with });
    }

    fn hangs(&self) {
        self.behaves(Behaviour::Hangs);
    }

    fn is_unready(&self) {
        self.behaves(Behaviour::IsUnready);
    }

    fn is_broken(&self, with: &'static str) {
        self.behaves(Behaviour::IsBroken { with });
    }

    fn behaves(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
        let wakers = std::mem::take(&mut *self.shared.unready.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Opens the breaker, for a minute.
    fn open(&self) {
        self.provider.mark_unhealthy("down");
        self.provider.mark_unhealthy("down");
        assert!(!self.provider.is_healthy());
    }

    fn open_for(&self, window: Duration) {
        let policy = Policy::new().backoff(Backoff::constant(window));
        self.provider.set_policy(policy);
        self.open();
    }

    fn throttled_for(&self, wait: Duration) {
        let permit = self.provider.admit().unwrap();
        permit.throttled(Some(wait), "429");
    }

    async fn is_half_open(&self) {
        self.open();
        advance(MINUTE).await;
        assert_eq!(self.provider.health().state, State::HalfOpen);
    }

    fn clones(&self) -> usize {
        self.shared.clones.load(Relaxed)
    }

    fn polls(&self) -> usize {
        self.shared.polls.load(Relaxed)
    }

    fn calls(&self) -> usize {
        self.shared.calls.load(Relaxed)
    }

    fn running(&self) -> usize {
        self.shared.running.load(Relaxed)
    }
}

impl Clone for Stub {
    fn clone(&self) -> Self {
        self.shared.clones.fetch_add(1, Relaxed);
        Self {
            provider: self.provider(),
            shared: Arc::clone(&self.shared),
            is_ready: false,
        }
    }
}

impl<Req> Service<Req> for Stub {
    type Response = &'static str;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<&'static str, BoxError>> + Send + Sync>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.shared.polls.fetch_add(1, Relaxed);
        match *self.shared.behaviour.lock().unwrap() {
            Behaviour::IsBroken { with } => return Poll::Ready(Err(Failed(with).into())),
            Behaviour::IsUnready => {
                let waker = cx.waker().clone();
                self.shared.unready.lock().unwrap().push(waker);
                return Poll::Pending;
            }
            _ => self.is_ready = true,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called unready");
        self.shared.calls.fetch_add(1, Relaxed);
        let running = Run::new(&self.shared);
        let behaviour = *self.shared.behaviour.lock().unwrap();
        Box::pin(async move {
            let name = running.0.name;
            match behaviour {
                Behaviour::Serves { after } => {
                    takes(after).await;
                    Ok(name)
                }
                Behaviour::Fails { after, with } => {
                    takes(after).await;
                    Err(Failed(with).into())
                }
                _ => pending().await,
            }
        })
    }
}

/// Needs no timer to take no time.
async fn takes(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// A call that has been made, and has not ended.
struct Run(Arc<Shared>);

impl Run {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.running.fetch_add(1, Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// A request that counts its clones.
#[derive(Default)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// The same request, not counted.
    fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn clones(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Relaxed);
        self.handle()
    }
}

/// So many retries of what was not refused.
#[derive(Clone)]
struct Retries(u32);

impl<Res> RetryPolicy<(), Res, BoxError> for Retries {
    type Future = Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        let is_refusal = find::<CircuitOpen>(&**error).is_some();
        self.0 = self.0.checked_sub(1).filter(|_| !is_refusal)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

fn chain_of<Req: Clone, const N: usize>(stubs: [&Stub; N]) -> FallbackChain<Health<Stub>, Req> {
    stubs.into_iter().fold(FallbackChain::new(), |chain, stub| {
        chain.entry(stub.provider(), stub.stack())
    })
}

async fn ask(chain: &FallbackChain<Health<Stub>, ()>) -> Result<&'static str, BoxError> {
    chain.clone().oneshot(()).await
}

/// How many of `callers` each provider serves.
async fn ask_at_once(
    callers: usize,
    chain: &FallbackChain<Health<Stub>, ()>,
) -> Vec<(&'static str, usize)> {
    let calls = (0..callers).map(|_| chain.clone().oneshot(()));
    let results = calls.collect::<JoinSet<_>>().join_all().await;
    let mut served = BTreeMap::new();
    for name in results.into_iter().flatten() {
        *served.entry(name).or_default() += 1;
    }
    served.into_iter().collect()
}

fn no_provider(result: Result<&'static str, BoxError>) -> NoHealthyProvider {
    *result.unwrap_err().downcast().unwrap()
}

fn lines(attempts: &[Attempt]) -> Vec<String> {
    attempts.iter().map(ToString::to_string).collect()
}
