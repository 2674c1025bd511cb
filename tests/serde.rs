//! What is written to files and status pages, and read from configuration.

mod rig;

use rig::{Rig, received, secs};
use serde_json::{json, to_value};
use tokio::time::advance;
use tower_health::{Cause, HealthCache, Override, Policy, Reason, State};

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
            "not_before_seconds": null, "forced_for_seconds": null,
        }, {
            "id": "b", "state": "closed", "healthy": true, "cause": null, "reason": null,
            "consecutive_failures": 0, "failed_trials": 0, "last_error": null,
            "last_check_seconds_ago": null, "since_seconds_ago": null, "retry_in_seconds": null,
            "not_before_seconds": null, "forced_for_seconds": null,
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
    let row = to_value(rig.health()).unwrap();
    assert_eq!(row, to_value(rig.cache.snapshot()).unwrap()["providers"][0]);
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
