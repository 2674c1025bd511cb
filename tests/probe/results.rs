//! The effect of a check's result on its provider.

use std::{
    fmt,
    future::{pending, ready},
    io,
    panic::panic_any,
    pin::Pin,
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower_health::{Cause, Check, HealthCache, HealthProbe, Outcome, Reason, State};

use crate::{
    Backend, CannotBeDropped, HOUR, MINUTE, NotEvenItsPanic, SECOND, cannot_be_made, pass,
    reason_of, steady, trips_at_once,
};

#[tokio::test(start_paused = true)]
async fn healthy_check_recovers_a_provider() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).check("a", backend.check());

    backend.goes_down();
    probe.round().await;
    assert!(!cache.is_healthy("a"));

    backend.comes_back();
    probe.round().await;
    assert_eq!(cache.provider("a").health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn second_failed_round_marks_by_default() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).check("a", || ready(false));

    probe.round().await;
    assert!(cache.is_healthy("a"));
    probe.round().await;
    assert!(!cache.is_healthy("a"));
}

#[tokio::test(start_paused = true)]
async fn failed_check_keeps_its_label() {
    let labelled = || ready(Err::<(), _>(Reason::labelled("503", "overloaded")));
    let reset = || {
        ready(Err::<(), _>(io::Error::from(
            io::ErrorKind::ConnectionReset,
        )))
    };
    for (check, text, label) in [
        (Check::new(labelled), "503: overloaded", "503"),
        (Check::new(reset), "reset: connection reset", "reset"),
        (
            Check::new(|| ready(Err::<(), _>("odd".to_owned()))),
            "odd",
            "error",
        ),
    ] {
        let reason = reason_of(check).await;
        assert_eq!((reason.as_str(), reason.label()), (text, label));
    }
}

#[tokio::test(start_paused = true)]
async fn false_marks() {
    let plain = Check::new(|| ready(false));
    assert_eq!(reason_of(plain).await, "check failed");
    let nested = Check::new(|| ready(Ok::<_, fmt::Error>(false)));
    assert_eq!(reason_of(nested).await, "check failed");
}

#[tokio::test(start_paused = true)]
async fn error_marks_with_its_text() {
    let refused = Check::new(|| ready(Err::<(), _>("connection refused")));
    assert_eq!(reason_of(refused).await, "connection refused");
}

/// Rule 10; scenario 23.
#[tokio::test(start_paused = true)]
async fn megabyte_of_error_text_is_cut() {
    let verbose = Check::new(|| ready(Err::<(), _>("é".repeat(1 << 19))));
    assert_eq!(reason_of(verbose).await.as_str(), "é".repeat(128));
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn panic_marks_with_its_text() {
    async fn fixed() {
        panic!("out of cheese");
    }
    async fn formatted() {
        panic!("out of {}", ["cheese", "luck"].join(" and "));
    }
    async fn wordless() {
        panic_any(7);
    }
    for (check, said) in [
        (Check::new(fixed), "check panicked: out of cheese"),
        (
            Check::new(formatted),
            "check panicked: out of cheese and luck",
        ),
        (Check::new(wordless), "check panicked: no text"),
    ] {
        assert_eq!(reason_of(check).await, said);
    }
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn panic_in_making_the_future_marks() {
    let said = reason_of(Check::new(cannot_be_made)).await;
    assert_eq!(said, "check panicked: cannot be made");
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn panic_in_dropping_the_future_marks() {
    for ends in [true, false] {
        let said = reason_of(Check::new(move || CannotBeDropped { ends })).await;
        assert_eq!(said, "check panicked: cannot be dropped");
    }
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn panic_in_telling_the_error_marks() {
    struct Unspeakable;
    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("cannot be told");
        }
    }
    let said = reason_of(Check::new(|| ready(Err::<(), _>(Unspeakable)))).await;
    assert_eq!(said, "check panicked: cannot be told");
}

#[tokio::test(start_paused = true)]
async fn slow_check_is_cut_off_and_marks() {
    let start = Instant::now();
    let said = reason_of(Check::new(pending::<()>)).await;
    assert_eq!(said, "check timed out after 3s");
    assert_eq!(start.elapsed(), 3 * SECOND);
}

/// A timer cannot interrupt it.
#[tokio::test]
async fn check_that_blocks_its_thread_past_its_timeout_has_failed() {
    let limit = Duration::from_millis(20);
    let blocks = move || std::thread::sleep(2 * limit);
    let checks = [
        Check::new(move || async move { blocks() }),
        Check::new(move || {
            blocks();
            ready(true)
        }),
        Check::new(move || async move {
            sleep(limit / 10).await;
            blocks();
        }),
    ];
    for check in checks {
        let reason = reason_of(check.timeout(limit)).await;
        assert_eq!(reason, "check timed out after 20ms");
    }
}

#[tokio::test]
async fn check_that_blocks_its_thread_does_not_fail_the_others() {
    let cache = trips_at_once();
    let limit = Duration::from_millis(20);
    HealthProbe::new(&cache)
        .timeout(limit)
        .check("a", move || sleep(limit / 10))
        .check("b", move || async move { std::thread::sleep(2 * limit) })
        .round()
        .await;
    assert!(cache.is_healthy("a"));
    assert!(!cache.is_healthy("b"));
}

#[tokio::test(start_paused = true)]
async fn outcome_tells_more_than_pass_or_fail() {
    let throttled = |wait| Outcome::throttled(Some(wait), "too many");
    for (outcome, depth, passed, closed) in [
        (
            Outcome::Success,
            Check::functional as fn(Check) -> Check,
            true,
            true,
        ),
        (Outcome::Answered, Check::functional, false, false),
        (Outcome::Neutral, Check::functional, false, false),
        (Outcome::failure("500"), Check::functional, false, false),
        (Outcome::fatal("401"), Check::functional, false, false),
        (throttled(SECOND), Check::functional, false, false),
        (Outcome::Answered, |check| check, true, false),
        (Outcome::Neutral, |check| check, false, false),
    ] {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        provider.mark_unhealthy("down");
        provider.mark_unhealthy("down");
        let given = outcome.clone();
        let check = depth(Check::new(move || ready(given.clone())));
        let probe = HealthProbe::new(&cache).check_with("a", check);
        probe.round().await;
        let state = provider.health().state;
        assert_eq!(state != State::Open, passed, "{outcome:?}");
        assert_eq!(state == State::Closed, closed, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_check_opens_unless_live_calls_succeed() {
    let cache = HealthCache::default();
    let check = || ready(Outcome::throttled(Some(HOUR / 2), "429"));
    let probe = HealthProbe::new(&cache).check("a", check);
    let provider = cache.provider("a");
    provider.admit().unwrap().success();
    probe.round().await;
    assert!(provider.is_healthy());
    probe.round().await;
    let health = provider.health();
    assert_eq!(health.cause, Some(Cause::Throttled));
    assert_eq!(health.consecutive_failures, 0);
    assert!(health.retry_in.unwrap() >= HOUR / 2);
}

#[tokio::test(start_paused = true)]
async fn coming_to_an_end_is_enough_to_pass() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache)
        .check("unit", || ready(()))
        .check("ok", || ready(Ok::<_, fmt::Error>(())))
        .check("true", || ready(true));
    probe.round().await;
    for row in cache.snapshot().providers {
        assert!(row.healthy && row.last_check.is_some(), "{row:?}");
    }
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn one_bad_check_does_not_sink_the_others() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache)
        .check("false", || ready(false))
        .check("error", || ready(Err::<(), _>("refused")))
        .check("slow", pending::<()>)
        .check("panics", cannot_be_made)
        .check("sticks", || CannotBeDropped { ends: false })
        .check("good", || ready(true))
        .check("too", || ready(true));
    probe.round().await;

    let rows = cache.snapshot().providers;
    assert!(rows.iter().all(|row| row.last_check.is_some()));
    let healthy = rows.iter().filter(|row| row.healthy);
    let healthy: Vec<_> = healthy.map(|row| &*row.id).collect();
    assert_eq!(healthy, ["good", "too"]);
}

/// Scenario 24.
#[tokio::test(start_paused = true)]
async fn loop_survives_errors_and_panics_of_every_kind() {
    type Bad = Pin<Box<dyn Future<Output = Result<(), fmt::Error>> + Send>>;
    type Named = (&'static str, fn() -> Bad);
    let bad: [Named; 6] = [
        ("failing", || Box::pin(ready(Err(fmt::Error)))),
        ("making", || Box::pin(cannot_be_made())),
        ("polling", || Box::pin(async { panic!("cannot be polled") })),
        ("dropping", || Box::pin(CannotBeDropped { ends: true })),
        ("cutting off", || Box::pin(CannotBeDropped { ends: false })),
        ("burying", || Box::pin(async { panic_any(NotEvenItsPanic) })),
    ];
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = bad.iter().fold(steady(&cache), |probe, (id, check)| {
        let (backend, check) = (backend.clone(), *check);
        probe.check(*id, move || {
            backend.is_asked();
            check()
        })
    });
    let probe = probe.spawn();
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [[0; 6], [30_000; 6], [60_000; 6]].concat());
    assert!(cache.snapshot().providers.iter().all(|row| !row.healthy));
    probe.stop().await;
}
