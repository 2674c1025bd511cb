//! The last answer that the rule did not accept, returned when no provider is left.

use std::error::Error;

use tokio::time::Instant;
use tower::ServiceExt;
use tower_health::Exhausted;

use crate::{SECOND, chain_of, lines, no_provider, stubs};

#[tokio::test(start_paused = true)]
async fn last_answer_is_returned_where_nobody_gives_a_better_one() {
    let [a, b] = stubs();
    let unwanted = || chain_of([&a, &b]).advance_when(|_| true);
    no_provider(unwanted().oneshot(()).await);
    let last = unwanted().last_answer(true);
    assert_eq!(last.clone().oneshot(()).await.unwrap(), "b");

    // Any answer is preferred to a later error.
    b.fails("timeout");
    assert_eq!(last.clone().oneshot(()).await.unwrap(), "a");
    // Without an answer, the error lists the attempts.
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
