//! The deadline and the number of attempts.

use std::{error::Error, time::Duration};

use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Service, ServiceExt};
use tower_health::{
    Exhausted,
    error::{CircuitOpen, find, is_refusal},
};

use crate::{Failed, SECOND, ask, chain_of, lines, no_provider, stubs};

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
    // The task is woken late: the call failed in time, but that is seen after the deadline.
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
    // Dropped at the deadline, not only with the future.
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
