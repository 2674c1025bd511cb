//! Entries that the chain wraps in a layer.

use tower::ServiceExt;
use tower_health::{Advance, BoxError, Classify, FallbackChain, GuardRule, Permit, Reason};

use crate::{lines, no_provider, stubs};

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

/// Bad requests neither count as failures nor go to the next provider: one rule decides both.
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
