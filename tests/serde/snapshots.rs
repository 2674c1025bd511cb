//! Snapshots as written to files and status pages, and as read back.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json, to_value};
use tokio::time::{Instant, advance};
use tower_health::{
    Backoff, Cause, HealthCache, Outcome, Override, Policy, Reason, Snapshot, State,
};

use crate::rig::{Rig, received, secs, without_jitter};

#[tokio::test(start_paused = true)]
async fn snapshot_is_written_with_ages_at_its_own_time() {
    let rig = Rig::new(Policy::new());
    advance(secs(100)).await;
    rig.fail();
    rig.fail();
    advance(secs(18)).await;
    let snapshot = rig.cache.snapshot_of(["b"]);
    advance(secs(1_000)).await;
    let expected = json!({
        "version": 1,
        "providers": [{
            "id": "a", "state": "open", "healthy": false, "cause": "failures", "reason": "down",
            "consecutive_failures": 2, "failed_trials": 0, "last_error": "down",
            "last_check_seconds_ago": 18.0, "since_seconds_ago": 18.0, "retry_in_seconds": 42.0,
            "not_before_seconds": null, "forced_for_seconds": null, "shadow": null,
        }, {
            "id": "b", "state": "closed", "healthy": true, "cause": null, "reason": null,
            "consecutive_failures": 0, "failed_trials": 0, "last_error": null,
            "last_check_seconds_ago": null, "since_seconds_ago": null, "retry_in_seconds": null,
            "not_before_seconds": null, "forced_for_seconds": null, "shadow": null,
        }],
    });
    assert_eq!(to_value(&snapshot).unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn row_alone_is_written_as_one_of_a_snapshot_now() {
    let rig = Rig::new(Policy::new());
    rig.throttle(secs(20));
    rig.force(Override::Closed, secs(90), "drill");
    advance(secs(5)).await;
    rig.succeed();
    let row = to_value(rig.provider.health()).unwrap();
    assert_eq!(row, to_value(rig.cache.snapshot()).unwrap()["providers"][0]);
    let shadow = json!({"success": 1, "failure": 0, "throttled": 0, "answered": 0, "neutral": 0});
    assert_eq!(row["shadow"], shadow);
    assert_eq!(row["reason"], "drill");
    assert_eq!(row["last_error"], "slow down");
    assert_eq!(row["not_before_seconds"], 15.0);
    assert_eq!(row["forced_for_seconds"], 85.0);
}

#[tokio::test(start_paused = true)]
async fn transition_is_written_with_its_age() {
    let rig = Rig::new(Policy::new());
    let mut transitions = rig.cache.subscribe();
    rig.trip();
    advance(secs(3)).await;
    let expected = json!([{
        "provider": "a", "from": "closed", "to": "open", "cause": "failures", "reason": "down",
        "seconds_ago": 3.0,
    }]);
    assert_eq!(to_value(received(&mut transitions)).unwrap(), expected);
}

#[test]
fn words_are_written_as_they_are_displayed_and_can_be_read() {
    for state in [State::Closed, State::Open, State::HalfOpen] {
        assert_eq!(to_value(state).unwrap(), state.to_string());
        assert_eq!(
            serde_json::from_value::<State>(json!(state)).unwrap(),
            state
        );
    }
    for cause in [
        Cause::Failures,
        Cause::Throttled,
        Cause::Probe,
        Cause::Forced,
    ] {
        assert_eq!(to_value(cause).unwrap(), cause.to_string());
        assert_eq!(
            serde_json::from_value::<Cause>(json!(cause)).unwrap(),
            cause
        );
    }
    for forced in [Override::Open, Override::Closed] {
        assert_eq!(to_value(forced).unwrap(), State::from(forced).to_string());
        assert_eq!(
            serde_json::from_value::<Override>(json!(forced)).unwrap(),
            forced
        );
    }
    assert_eq!(
        to_value(Reason::labelled("503", "busy")).unwrap(),
        "503: busy"
    );
    let error = serde_json::from_value::<State>(json!("ajar")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown variant `ajar`, expected one of `closed`, `open`, `half-open`"
    );
}

#[tokio::test(start_paused = true)]
async fn empty_snapshot_has_its_shape() {
    let snapshot = HealthCache::default().snapshot();
    assert_eq!(
        to_value(snapshot).unwrap(),
        json!({"version": 1, "providers": []})
    );
}

// Reading.

#[track_caller]
fn read(snapshot: &Value) -> Snapshot {
    serde_json::from_value(snapshot.clone()).expect("a snapshot")
}

#[track_caller]
fn refusal(snapshot: &Value) -> String {
    let refused = serde_json::from_value::<Snapshot>(snapshot.clone());
    refused
        .expect_err(&format!("accepted: {snapshot}"))
        .to_string()
}

fn with_row(row: &Value) -> Value {
    json!({"version": 1, "providers": [row]})
}

#[tokio::test(start_paused = true)]
async fn snapshot_that_is_read_is_of_now() {
    let rig = Rig::open(Policy::new());
    let call = rig.cache.provider("b").admit().unwrap();
    call.throttled(Some(secs(30)), "slow down");
    let forced = rig.cache.provider("c");
    forced.force(Override::Closed, secs(50), "drill");
    let _closed = rig.cache.provider("d");
    advance(secs(8)).await;
    let written = json!(rig.cache.snapshot());
    advance(secs(1_000)).await;

    let snapshot = read(&written);
    assert_eq!(snapshot.at, Instant::now());
    assert_eq!(json!(snapshot), written);
    let row = snapshot.get(Rig::ID).unwrap();
    assert_eq!(row.since, Some(Instant::now() - secs(8)));
    assert_eq!(row.retry_in, Some(secs(52)));
}

#[tokio::test(start_paused = true)]
async fn open_windows_outlive_the_process_in_a_file() {
    let rig = Rig::open(without_jitter(Policy::new()));
    let call = rig.cache.provider("b").admit().unwrap();
    call.throttled(Some(secs(30)), "slow down");
    let forced = rig.cache.provider("c");
    forced.force(Override::Open, secs(50), "drill");
    advance(secs(8)).await;
    let file = serde_json::to_string(&rig.cache.snapshot()).unwrap();
    drop(rig);
    advance(secs(1_000)).await;

    let cache = HealthCache::default();
    cache.restore(&serde_json::from_str(&file).unwrap());
    let left = ["a", "b", "c"].map(|id| cache.provider(id).admit().unwrap_err().retry_in());
    assert_eq!(left, [secs(52), secs(22), secs(42)]);
    assert_eq!(serde_json::to_string(&cache.snapshot()).unwrap(), file);
}

#[tokio::test(start_paused = true)]
async fn row_needs_no_more_than_an_id_and_a_state() {
    let row = read(&with_row(
        &json!({"id": "a", "state": "open", "news": [1, 2]}),
    ));
    assert_eq!(row.providers[0].consecutive_failures, 0);
    // The row lacks the cause.
    let cache = HealthCache::default();
    cache.restore(&row);
    assert!(cache.is_healthy("a"));

    let short = json!({"id": "a", "state": "open", "cause": "probe", "retry_in_seconds": 5});
    cache.restore(&read(&with_row(&short)));
    let health = cache.provider("a").health();
    assert_eq!(health.cause, Some(Cause::Probe));
    assert_eq!(health.retry_in, Some(secs(5)));
    assert_eq!(health.last_error, None);
}

#[test]
fn rows_are_sorted_and_the_first_of_an_id_counts() {
    let row = |id, failed| json!({"id": id, "state": "closed", "failed_trials": failed});
    let rows = json!([row("b", 1), row("a", 2), row("b", 3)]);
    let snapshot = read(&json!({"version": 1, "providers": rows}));
    let failed = |id| snapshot.get(id).unwrap().failed_trials;
    assert_eq!(snapshot.providers.len(), 2);
    assert_eq!([failed("a"), failed("b")], [2, 1]);
}

/// Rule 10.
#[test]
fn texts_that_are_read_are_cut_as_all_others() {
    let long = "é".repeat(1_000);
    let row = json!({"id": "a", "state": "closed", "reason": long, "last_error": long});
    let row = &read(&with_row(&row)).providers[0];
    for text in [&row.reason, &row.last_error] {
        assert_eq!(text.as_ref().unwrap().len(), Reason::MAX_BYTES);
    }
}

#[test]
fn snapshot_of_another_version_is_refused() {
    for (given, said) in [
        (
            json!({"version": 2, "providers": []}),
            "snapshot version must be 1, got 2",
        ),
        (json!({"providers": []}), "missing field `version`"),
        (json!({"version": 1}), "missing field `providers`"),
        (
            json!("damaged"),
            r#"invalid type: string "damaged", expected a snapshot"#,
        ),
    ] {
        assert_eq!(refusal(&given), said);
    }
    // The version is checked before all other fields.
    let file = r#"{"version": 2, "providers": "otherwise"}"#;
    let error = serde_json::from_str::<Snapshot>(file).unwrap_err();
    assert!(
        error.to_string().starts_with("snapshot version must be 1,"),
        "{error}"
    );
}

#[test]
fn damaged_rows_are_refused_by_name() {
    for name in [
        "last_check_seconds_ago",
        "since_seconds_ago",
        "retry_in_seconds",
        "not_before_seconds",
        "forced_for_seconds",
    ] {
        let must = format!("{name} of `groq`: must be a duration in seconds, got");
        for (seconds, got) in [(-1.5, "-1.5"), (1e20, "1e20")] {
            let row = json!({"id": "groq", "state": "open", name: seconds});
            assert_eq!(refusal(&with_row(&row)), format!("{must} {got}"));
        }
        let row = format!("id = 'groq', state = 'open', {name} = nan");
        let file = format!("version = 1\nproviders = [{{ {row} }}]");
        let error = toml::from_str::<Snapshot>(&file).unwrap_err();
        assert_eq!(error.message(), format!("{must} NaN"));
    }
    for (row, said) in [
        (json!({"state": "open"}), "missing field `id`"),
        (json!({"id": "a"}), "missing field `state`"),
        (
            json!({"id": "a", "state": "ajar"}),
            "unknown variant `ajar`, expected one of `closed`, `open`, `half-open`",
        ),
        (
            json!({"id": "a", "state": "open", "cause": "moon"}),
            "unknown variant `moon`, expected one of `failures`, `throttled`, `probe`, `forced`, `peer`",
        ),
        (
            json!(["a"]),
            "invalid length 1, expected the health of a provider",
        ),
    ] {
        assert_eq!(refusal(&with_row(&row)), said);
    }
}

/// Some are longer than a clock can hold.
fn seconds() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        (0..100_000_u32).prop_map(|millis| json!(f64::from(millis) / 1_000.0)),
        (0.0..1e19_f64).prop_map(|seconds| json!(seconds)),
        any::<f64>().prop_map(|seconds| json!(seconds)),
    ]
}

prop_compose! {
    fn rows()(
        id in "[a-c]",
        state in "(closed|open|half-open)",
        cause in "(failures|throttled|probe|forced)",
        counts in any::<[u32; 2]>(),
        times in [seconds(), seconds(), seconds(), seconds(), seconds()],
    ) -> Value {
        json!({
            "id": id, "state": state, "cause": cause,
            "consecutive_failures": counts[0], "failed_trials": counts[1],
            "last_check_seconds_ago": times[0], "since_seconds_ago": times[1],
            "retry_in_seconds": times[2], "not_before_seconds": times[3],
            "forced_for_seconds": times[4],
        })
    }
}

/// Events of a provider, and the milliseconds after each of them.
fn happenings() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0..7_u8, 0..40_000_u64), 0..12)
}

async fn happen(rig: &Rig, happenings: Vec<(u8, u64)>) {
    for (what, millis) in happenings {
        match (what, rig.admit()) {
            (0, Ok(call)) => call.success(),
            (1 | 2, Ok(call)) => call.failure("down"),
            (3, Ok(call)) => call.throttled(None, "slow down"),
            (4, Ok(call)) => call.record(Outcome::Fatal {
                reason: "revoked".into(),
            }),
            (5, _) => rig.mark_unhealthy("marked"),
            (6, _) => drop(rig.grant_trial()),
            _ => {}
        }
        advance(Duration::from_millis(millis)).await;
    }
}

fn in_paused_time<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

proptest! {
    #[test]
    fn what_is_out_comes_back_as_it_was_and_what_is_closed_as_new(happenings in happenings()) {
        in_paused_time(async {
            let policy = Policy::new().backoff(Backoff::exponential(secs(10), secs(300)));
            let rig = Rig::new(policy.clone());
            happen(&rig, happenings).await;
            let before = rig.cache.snapshot();
            let file = serde_json::to_string(&before).unwrap();
            advance(secs(777)).await;

            let cache = HealthCache::new(policy);
            cache.restore(&serde_json::from_str(&file).unwrap());
            let after = serde_json::to_string(&cache.snapshot()).unwrap();
            let row = before.get(Rig::ID).unwrap();
            if row.state == State::Closed {
                let new = HealthCache::default().provider(Rig::ID).health();
                prop_assert_eq!(cache.provider(Rig::ID).health(), new);
            } else if row.state == State::HalfOpen && !row.healthy {
                // The trial in flight is lost.
                prop_assert!(cache.is_healthy(Rig::ID));
            } else {
                prop_assert_eq!(after, file);
            }
            Ok(())
        })?;
    }

    #[test]
    fn damaged_snapshot_neither_panics_nor_keeps_a_provider_out_for_ever(
        rows in proptest::collection::vec(rows(), 0..4),
    ) {
        in_paused_time(async {
            let file = json!({"version": 1, "providers": rows});
            let Ok(snapshot) = serde_json::from_value::<Snapshot>(file) else {
                return Ok(());
            };
            let cache = HealthCache::default();
            cache.restore(&snapshot);
            // The longest wait that a provider may request, plus jitter.
            let longest = secs(3_600 + 360);
            for id in ["a", "b", "c"] {
                let provider = cache.provider(id);
                // A forced provider may stay out for longer.
                provider.unforce();
                prop_assert!(provider.health().retry_in.unwrap_or_default() <= longest);
                advance(longest).await;
                provider.admit().unwrap().success();
                prop_assert_eq!(provider.health().state, State::Closed);
                provider.admit().unwrap().failure("down");
                provider.admit().unwrap().failure("down");
                prop_assert_eq!(provider.health().state, State::Open);
            }
            Ok(())
        })?;
    }
}
