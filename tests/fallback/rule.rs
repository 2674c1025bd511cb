//! The rule decides which results go on to the next provider.

use std::error::Error;

use tower::ServiceExt;
use tower_health::{Advance, BoxError, FallbackChain, Reason, ServedBy};

use crate::{Failed, Stub, ask, chain_of, lines, no_provider, stubs};

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
    // The source is the last error, not the last attempt.
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
            let served_by = served_by();
            let calls = served_by.calls();
            let ServedBy {
                provider, attempts, ..
            } = served_by;
            *response = format!("{provider} after {:?}, {calls} calls", lines(&attempts));
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
        r#"c after ["`a`: circuit open", "`b`: 503"], 2 calls"#
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
