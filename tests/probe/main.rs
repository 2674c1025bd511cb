//! The probe's loop and its handle: who is checked and when, what a bad check does, how it all ends.

mod evidence;

use std::{
    collections::BTreeSet,
    fmt,
    future::{Ready, pending, ready},
    io,
    panic::{self, panic_any},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep, timeout};
use tower_health::{
    Backoff, Cause, Check, HealthCache, HealthProbe, Outcome, Override, Policy, ProbeHandle,
    Reason, Scope, State, Trip,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

// What comes of a check.

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

/// No timer can cut it off.
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

// Rounds.

#[tokio::test(start_paused = true)]
async fn checks_of_a_round_run_at_once() {
    let cache = HealthCache::default();
    let backend = Backend::taking(2 * SECOND);
    let probe = all_of(&ids(20), HealthProbe::new(&cache), &backend);
    let start = Instant::now();
    probe.round().await;
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!(backend.most_at_once(), 20);
}

#[tokio::test(start_paused = true)]
async fn no_checks_is_a_no_op() {
    let cache = HealthCache::default();
    let start = Instant::now();
    let probe = HealthProbe::new(&cache);
    probe.round().await;
    let running = probe.spawn();
    running.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn provider_with_a_check_is_known_from_the_start() {
    let cache = HealthCache::default();
    let _probe = HealthProbe::new(&cache).check("a", || ready(true));
    assert!(cache.get("a").is_some());
}

#[tokio::test(start_paused = true)]
async fn last_check_given_to_a_provider_is_the_one() {
    let cache = HealthCache::default();
    let (first, last) = (Backend::default(), Backend::default());
    let probe = HealthProbe::new(&cache)
        .check("a", first.check())
        .check("a", last.check());
    probe.round().await;
    assert_eq!((first.asked().len(), last.asked().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn first_round_is_immediate_and_the_next_an_interval_later() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(95 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000, 60_000, 90_000]);
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn jitter_keeps_to_its_share_of_the_interval() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).check("a", backend.check()).spawn();
    pass(HOUR).await;
    probe.stop().await;

    let asked = backend.asked();
    let pauses: BTreeSet<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Timers are a millisecond wide.
    assert!(pauses.iter().all(|pause| (26_999..=33_001).contains(pause)));
    assert!(
        pauses.len() > 50,
        "no two alike, but for chance: {pauses:?}"
    );
    assert!((109..=134).contains(&asked.len()));
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_first_round_of_many() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).jitter(0.5).concurrency(10);
    let probe = all_of(&ids(100), probe, &backend).spawn();
    pass(15 * SECOND).await;
    probe.stop().await;

    let asked = backend.asked();
    assert_eq!(asked.len(), 100, "each within half of the interval");
    assert!(asked.iter().max().unwrap() > &10_000);
    assert!(asked.iter().filter(|at| **at == 0).count() < 10);
}

#[tokio::test(start_paused = true)]
async fn first_round_of_few_is_not_spread() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).jitter(0.5).concurrency(10);
    let probe = all_of(&ids(10), probe, &backend).spawn();
    pass(Duration::ZERO).await;
    assert_eq!(backend.asked(), [0; 10]);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn missed_rounds_are_skipped_and_never_bunched() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;

    advance(10 * HOUR).await;
    pass(29 * SECOND).await;
    assert_eq!(backend.asked().len(), 2, "one for all that were missed");
    pass(2 * SECOND).await;
    assert_eq!(backend.asked().len(), 3);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn late_turn_moves_none_of_those_after_it() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    sleep(SECOND).await;

    advance(39 * SECOND).await;
    pass(50 * SECOND).await;
    assert_eq!(backend.asked(), [0, 40_000, 60_000, 90_000]);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_turns_that_are_due_at_once_are_one() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).skip_when_busy(true);
    let probe = probe.check("a", backend.check()).spawn();
    sleep(SECOND).await;
    cache.provider("a").admit().unwrap().success();

    advance(59 * SECOND).await;
    pass(30 * SECOND).await;
    assert_eq!(backend.asked(), [0, 90_000], "busy at 60 s");
    probe.stop().await;
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn provider_is_never_checked_twice_at_once() {
    let cache = trips_at_once();
    let backend = Backend::taking(70 * SECOND);
    let check = Check::new(backend.check()).timeout(2 * MINUTE);
    let probe = steady(&cache).check_with("a", check).spawn();
    pass(5 * SECOND).await;
    // The end of the window, at 65 s, comes in the middle of the first check.
    cache.provider("a").mark_unhealthy("refused");
    pass(5 * MINUTE).await;
    assert_eq!(backend.most_at_once(), 1);
    assert!(backend.asked().len() > 3);
    probe.stop().await;
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn slow_check_does_not_delay_the_others() {
    let cache = HealthCache::default();
    let (quick, slow) = (Backend::default(), Backend::taking(HOUR));
    let probe = steady(&cache)
        .timeout(2 * HOUR)
        .check("a", slow.check())
        .check("b", quick.check())
        .check("c", slow.check())
        .spawn();
    pass(65 * SECOND).await;
    assert_eq!(slow.asked(), [0, 0]);
    assert_eq!(quick.asked(), [0, 30_000, 60_000]);
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn concurrency_is_respected_and_used() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    let probe = HealthProbe::new(&cache).concurrency(3);
    let probe = all_of(&ids(10), probe, &backend);
    probe.round().await;
    assert_eq!(backend.most_at_once(), 3);
    let waves = [[0; 3], [1_000; 3], [2_000; 3]].concat();
    assert_eq!(backend.asked(), [waves, vec![3_000]].concat());
}

/// Scenario 26.
#[tokio::test(start_paused = true)]
async fn check_that_hangs_gives_its_place_up_at_its_timeout() {
    let cache = HealthCache::default();
    let backend = Backend::taking(HOUR);
    let probe = HealthProbe::new(&cache).concurrency(1);
    all_of(&ids(4), probe, &backend).round().await;
    assert_eq!(backend.asked(), [0, 3_000, 6_000, 9_000]);
    assert_eq!(backend.running(), 0);
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn at_most_32_checks_run_at_once_by_default() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    all_of(&ids(100), HealthProbe::new(&cache), &backend)
        .round()
        .await;
    assert_eq!(backend.most_at_once(), 32);
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn ten_thousand_providers_are_checked_in_one_round() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    let probe = all_of(&ids(10_000), HealthProbe::new(&cache), &backend);

    probe.round().await;
    assert_eq!(backend.asked().len(), 10_000);
    assert!(cache.snapshot().providers.iter().all(|row| !row.healthy));

    backend.comes_back();
    probe.round().await;
    assert!(cache.snapshot().providers.iter().all(|row| row.healthy));
}

#[tokio::test(start_paused = true)]
async fn check_keeps_to_its_own_interval_and_timeout() {
    let cache = trips_at_once();
    let (often, default) = (Backend::taking(9 * SECOND), Backend::default());
    let patient = Check::new(often.check())
        .interval(10 * SECOND)
        .timeout(20 * SECOND);
    let probe = steady(&cache)
        .check_with("often", patient)
        .check("default", default.check())
        .spawn();
    pass(35 * SECOND).await;
    assert_eq!(often.asked(), [0, 10_000, 20_000, 30_000]);
    assert_eq!(default.asked(), [0, 30_000]);
    assert!(cache.is_healthy("often"), "9 s are not too slow for it");
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn longest_durations_do_not_overflow() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache)
        .interval(Duration::MAX)
        .timeout(Duration::MAX)
        .check("a", backend.check())
        .spawn();
    pass(24 * HOUR).await;
    assert_eq!(backend.asked(), [0]);
    probe.stop().await;
}

// The end of an open window.

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn recovery_is_tried_when_the_window_ends_and_not_at_the_next_turn() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let check = Check::new(backend.check()).functional();
    let probe = hourly(&cache).check_with("a", check).spawn();
    sleep(5 * SECOND).await;
    cache.provider("a").admit().unwrap().failure("refused");

    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 65_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_a_check_opened_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    backend.comes_back();
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 60_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_from_before_the_start_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    backend.goes_down();
    cache.provider("a").mark_unhealthy("refused");
    sleep(40 * SECOND).await;
    let probe = hourly(&cache).scope(Scope::Suspect);
    let probe = probe.check("a", backend.check()).spawn();
    pass(Duration::ZERO).await;
    backend.comes_back();
    // The first round's failure, at 40 s, has put the end off.
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [40_000, 100_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn lengthened_window_is_tried_at_its_new_end() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider.mark_unhealthy("refused");
    sleep(30 * SECOND).await;
    provider.mark_unhealthy("refused again");
    pass(50 * SECOND).await;
    assert_eq!(backend.asked(), [0]);
    pass(10 * SECOND).await;
    assert_eq!(backend.asked(), [0, 90_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn shortened_window_is_tried_at_its_new_end() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider
        .admit()
        .unwrap()
        .throttled(Some(30 * MINUTE), "429");
    sleep(30 * SECOND).await;
    provider.mark_healthy();
    provider.mark_unhealthy("refused");
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 90_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_an_override_hid_at_the_start_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let provider = cache.provider("a");
    provider.mark_unhealthy("refused");
    provider.force(Override::Open, 50 * MINUTE, "maintenance");
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    sleep(30 * SECOND).await;
    provider.unforce();
    pass(30 * SECOND).await;
    assert_eq!(backend.asked(), [0, 60_000]);
    probe.stop().await;
}

/// Scenario 30.
#[tokio::test(start_paused = true)]
async fn window_that_opened_under_an_override_is_tried_when_it_ends() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = hourly(&cache).check("a", backend.check()).spawn();
    let provider = cache.provider("a");
    provider.force(Override::Open, 50 * MINUTE, "maintenance");
    sleep(SECOND).await;
    provider.mark_unhealthy("refused");
    provider.unforce();
    pass(MINUTE).await;
    assert_eq!(backend.asked(), [0, 61_000]);
    probe.stop().await;
}

/// Scenario 30. A check that began before the trip says nothing of the present, so another follows.
#[tokio::test(start_paused = true)]
async fn window_that_ends_during_a_late_check_is_tried_after_it() {
    let policy = Policy::new()
        .trip(Trip::consecutive(1))
        .backoff(Backoff::constant(SECOND));
    let cache = HealthCache::new(policy);
    let backend = Backend::taking(5 * SECOND);
    let check = Check::new(backend.check()).functional().timeout(MINUTE);
    let probe = hourly(&cache).check_with("a", check).spawn();
    pass(SECOND).await;
    cache.provider("a").mark_unhealthy("refused");
    pass(10 * SECOND).await;
    assert_eq!(backend.asked(), [0, 5_000]);
    assert_eq!(cache.provider("a").health().state, State::Closed);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn window_that_ends_with_a_turn_is_tried_once() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    cache.provider("a").mark_unhealthy("refused");
    cache.provider("a").mark_unhealthy("refused");
    backend.goes_down();
    pass(65 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000, 60_000]);
    probe.stop().await;
}

/// Scenario 30. The probe's own check is not needed for it.
#[tokio::test(start_paused = true)]
async fn half_open_is_announced_on_time_for_providers_without_a_check() {
    let cache = trips_at_once();
    let known = cache.provider("known before");
    let start = Instant::now();
    known.mark_unhealthy("refused");
    let probe = HealthProbe::new(&cache).spawn();
    sleep(7 * SECOND).await;
    cache.provider("known later").mark_unhealthy("refused");

    let mut transitions = cache.subscribe();
    for (id, due) in [("known before", 60), ("known later", 67)] {
        let announced = timeout(HOUR, transitions.recv()).await;
        let announced = announced.expect("on time").unwrap();
        assert_eq!(start.elapsed(), due * SECOND);
        assert_eq!((&*announced.provider, announced.to), (id, State::HalfOpen));
        assert_eq!(announced.at, start + due * SECOND);
    }
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn end_of_an_override_is_announced_on_time() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    let start = Instant::now();
    cache
        .provider("a")
        .force(Override::Open, MINUTE, "maintenance");
    let mut transitions = cache.subscribe();
    let lifted = timeout(HOUR, transitions.recv()).await;
    assert_eq!(lifted.expect("on time").unwrap().to, State::Closed);
    assert_eq!(start.elapsed(), MINUTE);
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn end_of_a_shortened_override_is_announced_on_time() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    let provider = cache.provider("a");
    provider.force(Override::Open, HOUR, "maintenance");
    sleep(SECOND).await;
    provider.force(Override::Open, MINUTE, "nearly done");
    let mut transitions = cache.subscribe();
    let lifted = timeout(2 * MINUTE, transitions.recv()).await;
    assert_eq!(lifted.expect("on time").unwrap().to, State::Closed);
    probe.stop().await;
}

/// Scenario 30. A subscriber lags after 1,024.
#[tokio::test(start_paused = true)]
async fn more_transitions_than_are_kept_lose_no_window() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let ids = ids(3_000);
    let probe = hourly(&cache).scope(Scope::Suspect);
    let probe = all_of(&ids, probe, &backend).spawn();
    sleep(5 * SECOND).await;
    for id in &ids {
        cache.provider(id.as_str()).mark_unhealthy("refused");
    }
    pass(MINUTE).await;
    assert_eq!(backend.asked(), vec![65_000; 3_000]);
    probe.stop().await;
}

/// Scenario 30. Not only announced, but seen by whoever looks.
#[tokio::test(start_paused = true)]
async fn burst_of_openings_without_checks_is_announced_in_full() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache).spawn();
    pass(SECOND).await;
    // Spread, so that a subscriber can keep up with the ends.
    for (number, id) in (0..).zip(ids(2_000)) {
        let wait = SECOND * (1 + number % 4);
        let policy = Policy::new().backoff(Backoff::constant(wait));
        let provider = cache.provider_with(id, policy.trip(Trip::consecutive(1)));
        provider.mark_unhealthy("refused");
    }
    let mut transitions = cache.subscribe();
    let mut announced = BTreeSet::new();
    while let Ok(Some(next)) = timeout(MINUTE, transitions.recv()).await {
        assert_eq!(next.to, State::HalfOpen);
        announced.insert(next.provider);
    }
    assert_eq!(transitions.missed(), 0);
    assert_eq!(announced.len(), 2_000);
    probe.stop().await;
}

/// Its changes come faster than the probe can look at them, and its checks one after the other.
#[tokio::test(start_paused = true)]
async fn provider_that_flaps_delays_no_check_of_another() {
    let policy = Policy::new().trip(Trip::consecutive(1));
    let cache = HealthCache::new(policy.backoff(Backoff::constant(SECOND)));
    let (flapping, other) = (Backend::taking(SECOND), Backend::default());
    flapping.goes_down();
    let probe = steady(&cache)
        .concurrency(1)
        .check("a", flapping.check())
        .check("b", other.check())
        .spawn();
    let provider = cache.provider("a");
    let start = Instant::now();
    while start.elapsed() < 2 * MINUTE {
        for _ in 0..200 {
            provider.mark_healthy();
            provider.mark_unhealthy("flaps");
        }
        advance(SECOND / 2).await;
    }
    probe.stop().await;
    assert!(other.asked().len() >= 4, "{:?}", other.asked());
}

// Who is checked.

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn suspect_scope_leaves_the_closed_alone() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let check = Check::new(backend.check()).functional();
    let probe = steady(&cache).scope(Scope::Suspect);
    let probe = probe.check_with("a", check).spawn();
    pass(40 * SECOND).await;
    assert_eq!(backend.asked(), []);

    backend.goes_down();
    cache.provider("a").mark_unhealthy("refused");
    pass(45 * SECOND).await;
    assert_eq!(backend.asked(), [60_000], "while it is open");

    backend.comes_back();
    pass(HOUR).await;
    assert_eq!(backend.asked(), [60_000, 90_000], "until it has closed");
    probe.stop().await;
}

/// Scenario 31.
#[tokio::test(start_paused = true)]
async fn suspect_scope_checks_the_half_open() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).scope(Scope::Suspect);
    let probe = probe.check("a", backend.check());
    cache.provider("a").mark_unhealthy("refused");
    advance(MINUTE).await;
    assert_eq!(cache.provider("a").health().state, State::HalfOpen);
    probe.round().await;
    assert_eq!(backend.asked(), [60_000]);
}

/// Scenario 28.
#[tokio::test(start_paused = true)]
async fn busy_provider_is_skipped_where_asked_for() {
    let cache = HealthCache::default();
    let (spared, not_spared) = (Backend::default(), Backend::default());
    let sparing = steady(&cache).skip_when_busy(true);
    let sparing = sparing.check("spared", spared.check()).spawn();
    let plain = steady(&cache).check("not spared", not_spared.check());
    let plain = plain.spawn();
    let succeed = || {
        for id in ["spared", "not spared"] {
            cache.provider(id).admit().unwrap().success();
        }
    };

    pass(SECOND).await;
    succeed();
    pass(30 * SECOND).await;
    succeed();
    succeed();
    pass(60 * SECOND).await;
    assert_eq!(
        spared.asked(),
        [0, 90_000],
        "busy until 30 s and until 60 s"
    );
    assert_eq!(not_spared.asked(), [0, 30_000, 60_000, 90_000]);
    sparing.stop().await;
    plain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn busy_provider_is_checked_once_it_has_opened() {
    let cache = trips_at_once();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).skip_when_busy(true);
    let probe = probe.check("a", backend.check());
    cache.provider("a").admit().unwrap().success();
    cache.provider("a").admit().unwrap().failure("refused");
    probe.round().await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn removed_provider_is_neither_checked_nor_created_again() {
    let cache = trips_at_once();
    let (gone, kept) = (Backend::default(), Backend::default());
    let probe = steady(&cache)
        .check("gone", gone.check())
        .check("kept", kept.check())
        .spawn();
    pass(SECOND).await;
    let handle = cache.provider("gone");
    handle.mark_unhealthy("refused");
    cache.remove("gone");
    pass(2 * MINUTE).await;
    assert_eq!(gone.asked(), [0]);
    assert_eq!(kept.asked(), [0, 30_000, 60_000, 90_000, 120_000]);
    assert!(cache.get("gone").is_none());

    let _ = cache.provider("gone");
    pass(30 * SECOND).await;
    assert_eq!(gone.asked(), [0, 150_000], "asked for again, checked again");
    probe.stop().await;
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn provider_removed_during_its_check_is_not_created_again() {
    let cache = trips_at_once();
    let backend = Backend::taking(SECOND);
    backend.goes_down();
    let probe = HealthProbe::new(&cache).concurrency(1);
    let probe = all_of(&ids(3), probe, &backend);
    let running = tokio::spawn(async move { probe.round().await });
    pass(Duration::ZERO).await;
    let handles: Vec<_> = ids(3).into_iter().map(|id| cache.provider(id)).collect();
    for handle in &handles {
        cache.remove(handle.id());
    }
    running.await.unwrap();
    assert!(cache.snapshot().providers.is_empty());
    assert_eq!(backend.asked(), [0], "those that waited are not checked");
    assert!(
        handles
            .iter()
            .all(|handle| handle.health().last_check.is_none())
    );
}

/// The result is about a breaker that is gone, whoever has its id now.
#[tokio::test(start_paused = true)]
async fn check_of_a_removed_provider_does_not_count_for_the_next_of_that_id() {
    for (passes, depth) in [
        (false, Check::functional as fn(Check) -> Check),
        (true, Check::functional),
        (true, |check| check),
    ] {
        let cache = trips_at_once();
        let old = cache.provider("a");
        let check = Check::new(move || async move {
            sleep(SECOND).await;
            passes
        });
        let probe = steady(&cache).check_with("a", depth(check)).spawn();
        sleep(SECOND / 2).await;
        cache.remove("a");
        let new = cache.provider("a");
        if passes {
            new.mark_unhealthy("down");
        }
        let before = new.health();
        pass(SECOND).await;
        probe.stop().await;
        let after = new.health();
        assert_eq!(after.state, before.state);
        assert_eq!(after.last_check, before.last_check);
        assert_eq!(old.health().last_check, None);
    }
}

// The handle.

#[tokio::test(start_paused = true)]
async fn stop_ends_the_probe() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    probe.stop().await;
    pass(HOUR).await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn stop_cancels_a_running_round_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).concurrency(200);
    let probe = all_of(&ids(300), probe, &backend).spawn();
    pass(SECOND).await;
    // More than the runtime cancels in one go.
    assert_eq!(backend.running(), 200);

    let start = Instant::now();
    probe.stop().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(backend.running(), 0, "cancelled, and dropped by now");
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_first_round_checks_nothing() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = HealthProbe::new(&cache).check("a", backend.check());
    probe.spawn().stop().await;
    assert_eq!(backend.asked(), []);
}

/// Scenario 25. The check has ended by then, but the loop has not seen it.
#[tokio::test(start_paused = true)]
async fn result_that_is_not_recorded_at_the_stop_never_is() {
    let cache = trips_at_once();
    let own_handle = Arc::new(Mutex::new(None::<ProbeHandle>));
    let check = {
        let own_handle = Arc::clone(&own_handle);
        move || ready(own_handle.lock().unwrap().take().is_none())
    };
    let probe = HealthProbe::new(&cache).check("a", check).spawn();
    *own_handle.lock().unwrap() = Some(probe);
    pass(SECOND).await;
    assert!(own_handle.lock().unwrap().is_none(), "dropped by the check");
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stopping_twice_is_fine() {
    let cache = HealthCache::default();
    let backend = Backend::taking(SECOND);
    let probe = steady(&cache).check("a", backend.check()).spawn();
    let other = probe.clone();
    pass(Duration::ZERO).await;
    tokio::join!(probe.stop(), other.stop(), probe.stop());
    probe.stop().await;
    other.stop().await;
    assert_eq!(backend.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_works_when_the_probe_has_ended_by_itself() {
    let cache = HealthCache::default();
    let probe = HealthProbe::new(&cache).spawn();
    drop(cache);
    pass(SECOND).await;
    probe.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropped_stop_stops_all_the_same() {
    let cache = HealthCache::default();
    let backend = Backend::default();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    pass(SECOND).await;
    drop(probe.stop());
    pass(HOUR).await;
    assert_eq!(backend.asked(), [0]);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stops_the_probe() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).check("a", backend.check()).spawn();
    let other = probe.clone();
    pass(SECOND).await;
    drop(probe);
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 1, "there is still a handle");
    drop(other);
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 0);
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn stop_survives_a_check_that_panics_when_it_is_cancelled() {
    let cache = trips_at_once();
    let probe = HealthProbe::new(&cache)
        .check("a", || CannotBeDropped { ends: false })
        .check("b", || CannotBeDropped { ends: false })
        .spawn();
    pass(SECOND).await;
    probe.stop().await;
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn check_may_stop_its_own_probe() {
    let cache = HealthCache::default();
    let (send, receive) = tokio::sync::watch::channel(None);
    let check = move || {
        let mut handle = receive.clone();
        async move {
            let handle = handle.wait_for(Option::is_some).await.unwrap().clone();
            Option::<ProbeHandle>::unwrap(handle).stop().await;
        }
    };
    let probe = HealthProbe::new(&cache).check("a", check).spawn();
    send.send_replace(Some(probe.clone()));
    pass(Duration::ZERO).await;
    timeout(Duration::ZERO, probe.stop())
        .await
        .expect("it has ended");
}

/// Scenario 25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_recorded_after_stop_on_many_threads() {
    for _ in 0..200 {
        let cache = trips_at_once();
        let probe = HealthProbe::new(&cache).interval(Duration::from_millis(1));
        let probe = all_of(&ids(8), probe, &Backend::default()).spawn();
        tokio::task::yield_now().await;
        probe.stop().await;
        let checked = || {
            cache
                .snapshot()
                .providers
                .into_iter()
                .map(|row| row.last_check)
        };
        let before: Vec<_> = checked().collect();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(checked().eq(before));
    }
}

/// Scenario 25.
#[test]
fn runtime_that_shuts_down_records_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    let probe = steady(&cache).check("a", backend.check());
    let probe = runtime.block_on(async {
        let probe = probe.spawn();
        pass(SECOND).await;
        probe
    });
    assert_eq!(backend.running(), 1);
    drop(runtime);
    assert_eq!(backend.running(), 0);
    assert_nothing_recorded(&cache);
    drop(probe);
}

// The bare futures.

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_run_cancels_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let backend = Backend::taking(2 * SECOND);
    backend.goes_down();
    let probe = steady(&cache).check("a", backend.check());
    let cut_off = timeout(SECOND, probe.run()).await;
    assert!(cut_off.is_err());
    pass(Duration::ZERO).await;
    assert_eq!(backend.running(), 0);
    pass(HOUR).await;
    assert_nothing_recorded(&cache);
}

/// Scenario 25.
#[tokio::test(start_paused = true)]
async fn dropping_round_keeps_what_had_ended_and_nothing_is_recorded_after_it() {
    let cache = trips_at_once();
    let (quick, slow) = (Backend::default(), Backend::taking(2 * SECOND));
    slow.goes_down();
    let probe = HealthProbe::new(&cache)
        .check("quick", quick.check())
        .check("slow", slow.check());
    let cut_off = timeout(SECOND, probe.round()).await;
    assert!(cut_off.is_err());
    pass(HOUR).await;
    assert_eq!(slow.running(), 0);
    assert!(cache.provider("quick").health().last_check.is_some());
    cache.remove("quick");
    assert_nothing_recorded(&cache);
}

#[tokio::test(start_paused = true)]
async fn run_ends_when_the_last_cache_is_gone() {
    let cache = HealthCache::default();
    let last = cache.clone();
    let backend = Backend::taking(2 * SECOND);
    // Neither a provider's handle nor a subscriber is a cache.
    let provider = cache.provider("a");
    let _transitions = cache.subscribe();
    let running = tokio::spawn(steady(&cache).check("a", backend.check()).run());
    drop(cache);
    pass(31 * SECOND).await;
    assert_eq!(backend.asked(), [0, 30_000]);

    drop(last);
    pass(Duration::ZERO).await;
    assert!(running.is_finished());
    assert_eq!(
        backend.running(),
        0,
        "not even what was in mid-check goes on"
    );
    assert!(provider.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn probe_of_a_cache_that_is_gone_does_nothing() {
    let backend = Backend::default();
    let probe = HealthProbe::new(&HealthCache::default()).check("a", backend.check());
    probe.round().await;
    probe.clone().run().await;
    probe.spawn().stop().await;
    assert_eq!(backend.asked(), []);
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn spawn_outside_a_runtime_is_refused() {
    let _ = HealthProbe::new(&HealthCache::default()).spawn();
}

// Settings.

/// Scenarios 16 and 26.
#[test]
fn settings_that_nobody_can_mean_are_refused_by_name() {
    type Setting = fn(HealthProbe) -> HealthProbe;
    let refused: [(Setting, &str); 9] = [
        (
            |probe| probe.interval(Duration::ZERO),
            "`HealthProbe::interval` must be longer than zero, got 0ns",
        ),
        (
            |probe| probe.timeout(Duration::ZERO),
            "`HealthProbe::timeout` must be longer than zero, got 0ns",
        ),
        (
            |probe| probe.concurrency(0),
            "`HealthProbe::concurrency` must be at least 1, got 0",
        ),
        (
            |probe| probe.jitter(1.0),
            "`HealthProbe::jitter` must be at least 0 and below 1, got 1",
        ),
        (
            |probe| probe.jitter(-0.1),
            "`HealthProbe::jitter` must be at least 0 and below 1, got -0.1",
        ),
        (
            |probe| probe.jitter(f64::NAN),
            "`HealthProbe::jitter` must be at least 0 and below 1, got NaN",
        ),
        (
            |probe| probe.jitter(f64::INFINITY),
            "`HealthProbe::jitter` must be at least 0 and below 1, got inf",
        ),
        (
            |probe| probe.check_with("a", Check::new(|| ready(())).interval(Duration::ZERO)),
            "`Check::interval` must be longer than zero, got 0ns",
        ),
        (
            |probe| probe.check_with("a", Check::new(|| ready(())).timeout(Duration::ZERO)),
            "`Check::timeout` must be longer than zero, got 0ns",
        ),
    ];
    for (setting, expected) in refused {
        let set = || drop(setting(HealthProbe::new(&HealthCache::default())));
        let panic = panic::catch_unwind(set).expect_err(expected);
        let said = panic.downcast::<String>().map(|text| *text);
        let said = said.unwrap_or_else(|fixed| (*fixed.downcast::<&str>().unwrap()).to_owned());
        assert_eq!(said, expected);
    }
}

#[test]
fn public_types_are_shown_by_debug() {
    let probe = HealthProbe::new(&HealthCache::default());
    let probe = probe.check_with("groq", Check::new(|| ready(())).functional());
    let shown = format!("{probe:?}");
    assert!(
        shown.contains("groq") && shown.contains("Functional"),
        "{shown}"
    );
}

// Helpers.

/// A cache whose providers open at the first failure, for the default 60 s.
fn trips_at_once() -> HealthCache {
    HealthCache::new(Policy::new().trip(Trip::consecutive(1)))
}

/// A probe that nothing is left to chance in: its turns are at 0 s, 30 s, 60 s.
fn steady(cache: &HealthCache) -> HealthProbe {
    HealthProbe::new(cache).jitter(0.0)
}

/// A probe whose first round is its only one for an hour.
fn hourly(cache: &HealthCache) -> HealthProbe {
    steady(cache).interval(HOUR)
}

fn ids(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("provider {number}"))
        .collect()
}

fn all_of(ids: &[String], probe: HealthProbe, backend: &Backend) -> HealthProbe {
    ids.iter()
        .fold(probe, |probe, id| probe.check(id.as_str(), backend.check()))
}

/// Lets time pass, and all happen that is due by its end.
async fn pass(time: Duration) {
    sleep(time + Duration::from_millis(1)).await;
}

/// What was heard against a provider whose only check this is, and which one failure trips.
async fn reason_of(check: Check) -> Reason {
    let cache = trips_at_once();
    HealthProbe::new(&cache)
        .check_with("a", check)
        .round()
        .await;
    let health = cache.provider("a").health();
    assert_eq!(health.state, State::Open);
    assert_eq!(health.cause, Some(Cause::Probe));
    health.last_error.expect("it was marked")
}

fn assert_nothing_recorded(cache: &HealthCache) {
    for row in cache.snapshot().providers {
        assert!(row.healthy && row.last_check.is_none(), "{row:?}");
    }
}

fn cannot_be_made() -> Ready<Result<(), fmt::Error>> {
    panic!("cannot be made");
}

/// A check whose future panics when it is dropped, be it at its end or because it was cut off.
struct CannotBeDropped {
    ends: bool,
}

impl Future for CannotBeDropped {
    type Output = Result<(), fmt::Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ends {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Drop for CannotBeDropped {
    fn drop(&mut self) {
        panic!("cannot be dropped");
    }
}

/// What a check panics with, and panics once more when that is dropped.
struct NotEvenItsPanic;

impl Drop for NotEvenItsPanic {
    fn drop(&mut self) {
        panic!("not even its panic can be dropped");
    }
}

/// What checks ask: notes when, and how many do at once.
#[derive(Clone)]
struct Backend(Arc<Notes>);

struct Notes {
    since: Instant,
    takes: Duration,
    is_down: AtomicBool,
    asked: Mutex<Vec<Instant>>,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Default for Backend {
    fn default() -> Self {
        Self::taking(Duration::ZERO)
    }
}

impl Backend {
    /// One that is well, and answers after a while.
    fn taking(takes: Duration) -> Self {
        Self(Arc::new(Notes {
            since: Instant::now(),
            takes,
            is_down: AtomicBool::new(false),
            asked: Mutex::default(),
            running: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }))
    }

    fn goes_down(&self) {
        self.0.is_down.store(true, Ordering::Relaxed);
    }

    fn comes_back(&self) {
        self.0.is_down.store(false, Ordering::Relaxed);
    }

    fn check(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync + use<> {
        let backend = self.clone();
        move || Box::pin(backend.clone().ask())
    }

    fn is_asked(&self) {
        self.0.asked.lock().unwrap().push(Instant::now());
    }

    async fn ask(self) -> bool {
        let notes = &*self.0;
        self.is_asked();
        let running = Running::one_more(notes);
        if !notes.takes.is_zero() {
            sleep(notes.takes).await;
        }
        drop(running);
        !notes.is_down.load(Ordering::Relaxed)
    }

    /// When it was asked, in milliseconds.
    fn asked(&self) -> Vec<u128> {
        let asked = self.0.asked.lock().unwrap();
        let since = self.0.since;
        asked.iter().map(|at| (*at - since).as_millis()).collect()
    }

    fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    fn most_at_once(&self) -> usize {
        self.0.most_at_once.load(Ordering::Relaxed)
    }
}

/// One that asks, until it is dropped.
struct Running<'a>(&'a Notes);

impl<'a> Running<'a> {
    fn one_more(notes: &'a Notes) -> Self {
        let running = notes.running.fetch_add(1, Ordering::Relaxed) + 1;
        notes.most_at_once.fetch_max(running, Ordering::Relaxed);
        Self(notes)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
