//! Restores the snapshot of one cache into another.

use std::time::Duration;

use tokio::time::{Instant, advance};
use tokio_test::{assert_ready, task};
use tower_health::{
    Backoff, Cause, Check, HealthCache, HealthProbe, Override, Policy, ProviderHealth, Snapshot,
    State, Throttle, Trials, Trip,
};

use crate::rig::{MOMENT, Rig, just_under, received, secs, without_jitter};

/// The rig of the next process, restored after an hour without one.
async fn after_a_restart(policy: Policy, snapshot: &Snapshot) -> Rig {
    advance(secs(3_600)).await;
    let cache = HealthCache::new(policy);
    cache.restore(snapshot);
    let provider = cache.provider(Rig::ID);
    Rig { cache, provider }
}

/// The health expected after that hour if the restore kept everything.
fn an_hour_later(health: ProviderHealth) -> ProviderHealth {
    let later = |at: Option<Instant>| at.map(|at| at + secs(3_600));
    let mut health = health;
    health.since = later(health.since);
    health.last_check = later(health.last_check);
    health
}

/// An event that happens to a provider.
type Way<'a> = &'a dyn Fn(&Rig);

fn doubling() -> Policy {
    Policy::new().backoff(Backoff::exponential(secs(10), secs(300)))
}

#[tokio::test(start_paused = true)]
async fn open_window_lasts_for_what_was_left_of_it() {
    let rig = Rig::open(Policy::new());
    advance(secs(18)).await;
    let before = rig.health();
    let rig = after_a_restart(Policy::new(), &rig.cache.snapshot()).await;
    assert_eq!(rig.health(), an_hour_later(before));
    assert_eq!(rig.wait(), secs(42));

    advance(just_under(secs(42))).await;
    assert_eq!(rig.state(), State::Open);
    advance(MOMENT).await;
    assert_eq!(rig.state(), State::HalfOpen);
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn half_open_is_restored_with_every_slot_free() {
    let rig = Rig::half_open(Policy::new()).await;
    let _trial = rig.trial();
    let rig = after_a_restart(Policy::new(), &rig.cache.snapshot()).await;
    let health = rig.health();
    assert_eq!(
        (health.state, health.cause),
        (State::HalfOpen, Some(Cause::Failures))
    );
    rig.trial().failure("still down");
    assert_eq!(rig.health().failed_trials, 1);
    assert_eq!(rig.wait(), secs(60));
}

#[tokio::test(start_paused = true)]
async fn backoff_goes_on_from_where_it_was() {
    let rig = Rig::half_open(doubling()).await;
    for wait in [20, 40] {
        rig.fail();
        assert_eq!(rig.wait(), secs(wait));
        rig.await_half_open().await;
    }
    let rig = after_a_restart(doubling(), &rig.cache.snapshot()).await;
    rig.fail();
    assert_eq!(rig.wait(), secs(80));
}

/// Rule 6.
#[tokio::test(start_paused = true)]
async fn restored_level_is_lived_down_as_any_other() {
    let rig = Rig::half_open(doubling()).await;
    rig.fail();
    let rig = after_a_restart(doubling(), &rig.cache.snapshot()).await;
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.health().failed_trials, 1);
    advance(secs(3_600 + 20)).await;
    assert_eq!(rig.health().failed_trials, 0);
}

/// Nothing shortens a wait that the provider asked for, not even a restart.
#[tokio::test(start_paused = true)]
async fn nothing_shortens_a_restored_throttle() {
    let named_by_a_failure = |rig: &Rig| {
        let failure = tower_health::Outcome::Failure {
            reason: "503".into(),
            retry_after: Some(secs(300)),
        };
        rig.call().record(failure);
    };
    let at_once = without_jitter(Policy::new().trip(Trip::consecutive(1)));
    let ways: [(Way<'_>, Cause); 2] = [
        (&|rig| rig.throttle(secs(300)), Cause::Throttled),
        (&named_by_a_failure, Cause::Failures),
    ];
    for (open, cause) in ways {
        let rig = Rig::new(at_once.clone());
        open(&rig);
        advance(secs(100)).await;
        let rig = after_a_restart(at_once.clone(), &rig.cache.snapshot()).await;
        let functional = Check::new(|| async { true }).functional();
        let probe = HealthProbe::new(&rig.cache).check_with(Rig::ID, functional);
        probe.round().await;
        assert!(!rig.grant_trial());
        assert_eq!(rig.health().cause, Some(cause));
        assert_eq!(rig.wait(), secs(200));
        rig.await_half_open().await;
        probe.round().await;
        assert_eq!(rig.state(), State::Closed);
    }
}

/// The jitter added to the wait is restored too, also when the named time is over.
#[tokio::test(start_paused = true)]
async fn restored_throttle_ends_when_it_would_have() {
    let policy = Policy::new().throttle(Throttle::default().jitter(1.0));
    let mut rig = Rig::new(policy.clone());
    rig.throttle(secs(3_000));
    while rig.health().retry_in.is_some_and(|left| left > secs(500)) {
        advance(secs(500)).await;
        let before = rig.health();
        rig = after_a_restart(policy.clone(), &rig.cache.snapshot()).await;
        assert_eq!(rig.health(), an_hour_later(before));
    }
}

/// After a failed trial, a shallow check proves nothing.
#[tokio::test(start_paused = true)]
async fn shallow_check_that_was_disproved_stays_so() {
    for (failed_trials, state) in [(0, State::HalfOpen), (1, State::Open)] {
        let rig = Rig::half_open(Policy::new()).await;
        rig.call().neutral();
        if failed_trials > 0 {
            rig.fail();
        } else {
            rig.mark_unhealthy("down");
        }
        let rig = after_a_restart(Policy::new(), &rig.cache.snapshot()).await;
        assert_eq!(rig.health().failed_trials, failed_trials);
        let probe = HealthProbe::new(&rig.cache).check(Rig::ID, || async { true });
        probe.round().await;
        assert_eq!(rig.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn override_lasts_for_what_was_left_of_it() {
    for (to, is_healthy) in [(Override::Open, false), (Override::Closed, true)] {
        let rig = Rig::new(Policy::new());
        rig.force(to, secs(90), "drill");
        advance(secs(20)).await;
        let before = rig.health();
        let rig = after_a_restart(Policy::new(), &rig.cache.snapshot()).await;
        assert_eq!(rig.health(), an_hour_later(before));
        assert_eq!(rig.is_healthy(), is_healthy);
        rig.mark_unhealthy("beneath");
        assert_eq!(rig.health().cause, Some(Cause::Forced));
        advance(just_under(secs(70))).await;
        assert_eq!(rig.health().reason.unwrap(), "drill");
        advance(MOMENT).await;
        assert_eq!(rig.health().forced_for, None);
    }
}

#[tokio::test(start_paused = true)]
async fn closed_provider_stays_unknown_or_as_it_was() {
    let rig = Rig::new(Policy::new());
    rig.fail();
    let other = rig.cache.provider("well");
    other.admit().unwrap().success();
    let snapshot = rig.cache.snapshot();

    let cache = HealthCache::default();
    let known = cache.provider("well");
    let before = known.health();
    cache.restore(&snapshot);
    assert_eq!(known.health(), before);
    assert!(cache.get(Rig::ID).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_since_counts_more() {
    let snapshot = Rig::open(Policy::new()).cache.snapshot();
    let untouched = |_: &Rig| {};
    let neutral = |rig: &Rig| rig.call().neutral();
    let busy_when_a_check_was_due = |rig: &Rig| {
        rig.succeed();
        let skips = || async { panic!("it is busy") as bool };
        let probe = HealthProbe::new(&rig.cache).skip_when_busy(true);
        assert_ready!(task::spawn(probe.check(Rig::ID, skips).round()).poll());
    };
    let ways: [(Way<'_>, bool); 9] = [
        (&busy_when_a_check_was_due, false),
        (&untouched, true),
        (&neutral, true),
        (&Rig::succeed, false),
        (&Rig::fail, false),
        (&|rig| rig.throttle(secs(1)), false),
        (&|rig| rig.mark_healthy(), false),
        (&|rig| rig.force(Override::Closed, secs(1), "drill"), false),
        (&Rig::trip, false),
    ];
    for (way, (hear, is_restored)) in ways.into_iter().enumerate() {
        let rig = Rig::new(Policy::new().backoff(Backoff::constant(secs(7))));
        hear(&rig);
        let before = rig.health();
        rig.cache.restore(&snapshot);
        assert_eq!(rig.health() != before, is_restored, "way {way}");
        assert_eq!(rig.wait() == secs(60), is_restored, "way {way}");
    }
}

#[tokio::test(start_paused = true)]
async fn restoring_twice_is_restoring_once() {
    let rig = Rig::open(Policy::new());
    let snapshot = rig.cache.snapshot();
    let rig = after_a_restart(Policy::new(), &snapshot).await;
    advance(secs(20)).await;
    rig.cache.restore(&snapshot);
    assert_eq!(rig.wait(), secs(40));
}

/// Rule 1.
#[tokio::test(start_paused = true)]
async fn call_from_before_the_restore_says_nothing() {
    let snapshot = Rig::open(Policy::new()).cache.snapshot();
    let rig = Rig::new(Policy::new());
    let [good, bad] = [rig.call(), rig.call()];
    rig.cache.restore(&snapshot);
    let before = rig.health();
    good.success();
    bad.failure("late");
    assert_eq!(rig.health(), before);
}

/// Rule 8.
#[tokio::test(start_paused = true)]
async fn restored_changes_are_announced_once() {
    let rig = Rig::open(Policy::new());
    let half_open = rig.cache.provider("b");
    half_open.mark_unhealthy("down too");
    half_open.mark_unhealthy("down too");
    assert!(half_open.grant_trial());
    rig.cache
        .provider("c")
        .force(Override::Open, secs(9), "drill");
    let _closed = rig.cache.provider("d");
    advance(secs(2)).await;
    let snapshot = rig.cache.snapshot();
    advance(secs(5)).await;

    let cache = HealthCache::default();
    let mut transitions = cache.subscribe();
    cache.restore(&snapshot);
    cache.restore(&snapshot);
    let all = received(&mut transitions);
    let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "a: closed -> open (failures: down)",
            "b: closed -> half-open (failures: down too)",
            "c: closed -> open (forced: drill)",
        ]
    );
    let began = Instant::now() - secs(2);
    assert!(all.iter().all(|change| change.at == began));
}

/// A snapshot that is damaged, or was made under another policy, keeps no provider out for ever.
#[tokio::test(start_paused = true)]
async fn windows_are_no_longer_than_the_new_policy_allows_for() {
    let day = secs(24 * 60 * 60);
    let patient = Policy::new()
        .backoff(Backoff::constant(day))
        .throttle(Throttle::default().max_wait(day));
    let hold = |limit| Policy::new().backoff(Backoff::constant(secs(9)).max_hold(limit));
    let failed = Rig::open(patient.clone()).cache.snapshot();
    for (policy, wait) in [
        (patient.clone(), day),
        (Policy::new(), secs(600)),
        (hold(secs(30)), secs(30)),
        (hold(secs(1)), secs(9)),
    ] {
        assert_eq!(after_a_restart(policy, &failed).await.wait(), wait);
    }
    let rig = Rig::new(patient);
    rig.throttle(day);
    let throttled = rig.cache.snapshot();
    let impatient = Policy::new().throttle(Throttle::default().max_wait(secs(700)));
    for (policy, wait) in [(Policy::new(), secs(3_600)), (impatient, secs(700))] {
        let rig = after_a_restart(without_jitter(policy.clone()), &throttled).await;
        assert_eq!(rig.wait(), wait);
        let rig = after_a_restart(policy, &throttled).await;
        assert_eq!(rig.health().not_before, Some(wait));
        assert!((wait..=wait + wait / 10).contains(&rig.wait()));
    }
}

/// Rule 3: a process that restarts again and again with a broken probe still admits a trial at last.
#[tokio::test(start_paused = true)]
async fn hold_goes_on_over_restarts() {
    let policy = Policy::new().trials(Trials::default().by_probe_only(true));
    let mut rig = Rig::open(policy.clone());
    assert_eq!(rig.wait(), secs(600));
    for spent in 1..=5 {
        advance(secs(100)).await;
        let left = secs(600 - spent * 100);
        assert_eq!(rig.wait(), left);
        let snapshot = rig.cache.snapshot();
        rig = after_a_restart(policy.clone(), &snapshot).await;
        assert_eq!(rig.wait(), left, "restart {spent}");
        let broken = HealthProbe::new(&rig.cache).check(Rig::ID, || async { false });
        broken.round().await;
        assert_eq!(rig.wait(), left, "a check cannot lengthen the hold");
    }
    advance(secs(100)).await;
    rig.trial().success();
    assert_eq!(rig.state(), State::Closed);
}

/// In shadow mode the windows refuse nothing, so there is nothing left to wait for.
#[tokio::test(start_paused = true)]
async fn shadow_mode_restores_to_half_open() {
    let shadow = Policy::new().observe_only(true);
    let rig = Rig::open(shadow.clone());
    let rig = after_a_restart(shadow, &rig.cache.snapshot()).await;
    assert_eq!(rig.state(), State::HalfOpen);
}

/// Until they are asked for by name, restored providers must not crowd out those of keyed layers.
#[tokio::test(start_paused = true)]
async fn restored_providers_make_room_and_those_asked_for_by_name_stay() {
    let cache = HealthCache::default();
    cache.restore(&all_forced((0..100).map(|number| format!("{number}"))));
    let named = cache.provider("3");
    let keyed = tower::ServiceBuilder::new()
        .layer(
            tower_health::HealthLayer::keyed(&cache, |host: &String| host.as_str())
                .max_providers(7),
        )
        .service_fn(async |_: String| Ok::<_, std::io::Error>(()));
    let call = |number| tower::ServiceExt::oneshot(keyed.clone(), format!("{number}"));

    call(100).await.unwrap();
    let known = cache.snapshot();
    assert_eq!(known.providers.len(), 1 + 7);
    assert_eq!(known.get("3").unwrap().state, State::Open);
    assert!(known.get("100").is_some());

    // Unhealthy providers are evicted last.
    for number in 101..200 {
        call(number).await.unwrap();
    }
    let known = cache.snapshot();
    assert_eq!(known.providers.len(), 1 + 7);
    let down = known.providers.iter().filter(|row| !row.healthy);
    assert_eq!(down.count(), 1 + 6);
    assert!(!named.is_healthy());
}

/// Snapshot files may be damaged, or written by others.
#[tokio::test(start_paused = true)]
async fn restored_providers_are_bounded_in_number() {
    let snapshot = all_forced((0..10_100).map(|number| format!("{number:05}")));
    let cache = HealthCache::default();
    let last = cache.provider("10099");
    for _ in 0..2 {
        cache.restore(&snapshot);
        assert_eq!(cache.snapshot().providers.len(), 1 + 10_000);
    }
    assert!(!last.is_healthy(), "a provider that is known has its place");
}

#[tokio::test(start_paused = true)]
async fn restored_ids_are_bounded_in_length() {
    let [one, other] = ["1", "2"].map(|end| "x".repeat(1_000_000) + end);
    let snapshot = all_forced([one.clone(), other.clone()]);
    let cache = HealthCache::default();
    cache.restore(&snapshot);

    let rows = cache.snapshot().providers;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.id.len() <= 256));
    assert!(!cache.is_healthy(&one) && !cache.is_healthy(&other));

    let again = HealthCache::default();
    again.restore(&cache.snapshot());
    assert!(!again.is_healthy(&one));
    assert!(!again.provider(other).is_healthy());
}

#[tokio::test(start_paused = true)]
async fn override_of_a_row_lasts_a_week_at_most() {
    let rig = Rig::new(Policy::new());
    rig.force(Override::Closed, Duration::MAX, "for ever");
    let rig = after_a_restart(Policy::new(), &rig.cache.snapshot()).await;
    assert_eq!(rig.health().forced_for, Some(secs(7 * 24 * 60 * 60)));
}

/// A snapshot in which each of these providers is forced open.
fn all_forced(ids: impl IntoIterator<Item = String>) -> Snapshot {
    let cache = HealthCache::default();
    for id in ids {
        cache.provider(id).force(Override::Open, secs(90), "drill");
    }
    cache.snapshot()
}

#[tokio::test(start_paused = true)]
async fn longest_times_do_not_overflow() {
    let policy = Policy::new()
        .backoff(Backoff::constant(Duration::MAX).max_hold(Duration::MAX))
        .throttle(Throttle::default().max_wait(Duration::MAX));
    let rig = Rig::new(policy.clone());
    rig.throttle(Duration::MAX);
    rig.cache
        .provider("b")
        .force(Override::Open, Duration::MAX, "drill");
    let snapshot = rig.cache.snapshot();
    let by_probe = policy.clone().trials(Trials::default().by_probe_only(true));
    for policy in [policy, by_probe] {
        let rig = after_a_restart(policy, &snapshot).await;
        assert_eq!(rig.state(), State::Open);
        assert!(!rig.cache.is_healthy("b"));
    }
}
