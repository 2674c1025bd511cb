//! A policy from a file: optional settings, rejected values with their messages, and serialization.

use std::time::Duration;

use proptest::prelude::*;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use tokio::time::advance;
use tower_health::{Backoff, Jitter, Policy, State, Throttle, Trials, Trip};

use crate::rig::{Rig, secs};

#[track_caller]
fn from_toml(text: &str) -> Policy {
    toml::from_str(text).expect("a policy")
}

#[track_caller]
fn from_json(value: Value) -> Policy {
    serde_json::from_value(value).expect("a policy")
}

/// The error for a value, from a format that adds no text of its own.
#[track_caller]
fn refusal(value: &Value) -> String {
    let refused = serde_json::from_value::<Policy>(value.clone());
    refused
        .expect_err(&format!("accepted: {value}"))
        .to_string()
}

// Optional settings.

#[test]
fn empty_configuration_is_the_default_policy() {
    assert_eq!(from_toml(""), Policy::default());
    let empty_parts = "trip = {}\nbackoff = {}\ntrials = {}\nthrottle = {}";
    assert_eq!(from_toml(empty_parts), Policy::default());
    let nulls =
        json!({"observe_only": null, "trip": {"within": null}, "backoff": {"constant": null}});
    assert_eq!(from_json(nulls), Policy::default());
}

#[test]
fn defaults_can_be_written_out() {
    let written_out = r#"
        observe_only = false
        [trip]
        consecutive = 2
        within = "5m"
        [backoff]
        constant = "60s"
        jitter = "none"
        max_hold = "10m"
        [trials]
        at_once = 1
        to_close = 1
        lease = "60s"
        pause = "1s"
        by_probe_only = false
        [throttle]
        default_wait = "15s"
        max_wait = "1h"
        jitter = 0.1
    "#;
    assert_eq!(from_toml(written_out), Policy::default());
    let policy = |text| from_toml(text);
    assert_eq!(
        policy(r#"trip.failure_rate = { ratio = 0.5, window = "30s" }"#),
        policy(r#"trip.failure_rate = { ratio = 0.5, window = "30s", min_calls = 20 }"#),
    );
    assert_eq!(
        policy(r#"backoff.exponential = { first = "1s", max = "9s" }"#),
        policy(r#"backoff.exponential = { first = "1s", max = "9s", factor = 2 }"#),
    );
}

#[test]
fn each_setting_does_what_its_setter_does() {
    let everything = from_toml(
        r#"
        observe_only = true
        release_on_open = true
        measure_latency = true
        trip = { consecutive = 5, exact = true, within = "1h 30m", failure_rate = { ratio = 0.25, window = "30s", min_calls = 7 }, slow_call = "2s 500ms", cancelled_after = "0s" }
        backoff = { exponential = { first = "10s", max = "5m", factor = 1.5 }, jitter = "full", max_hold = "20m" }
        trials = { at_once = 3, to_close = 2, lease = "5s", pause = "0s", by_probe_only = true, slow_start = true }
        throttle = { default_wait = "3s", max_wait = "2m", jitter = 0.25 }
        "#,
    );
    let by_setters = Policy::new()
        .trip(
            Trip::consecutive(5)
                .exact()
                .or_failure_rate(0.25, secs(30))
                .min_calls(7)
                .within(secs(90 * 60))
                .slow_call(Duration::from_millis(2_500))
                .cancelled_after(Duration::ZERO),
        )
        .backoff(
            Backoff::exponential(secs(10), secs(300))
                .factor(1.5)
                .jitter(Jitter::Full)
                .max_hold(secs(20 * 60)),
        )
        .trials(
            Trials::new(3)
                .to_close(2)
                .lease(secs(5))
                .pause(Duration::ZERO)
                .by_probe_only(true)
                .slow_start(),
        )
        .throttle(
            Throttle::default()
                .default_wait(secs(3))
                .max_wait(secs(120))
                .jitter(0.25),
        )
        .observe_only(true)
        .release_on_open(true)
        .measure_latency(true);
    assert_eq!(everything, by_setters);

    let constant = from_toml(r#"backoff = { constant = "7s", jitter = "equal" }"#);
    let by_setters = Backoff::constant(secs(7)).jitter(Jitter::Equal);
    assert_eq!(constant, Policy::new().backoff(by_setters));
}

#[test]
fn rate_alone_makes_failures_in_a_row_not_matter() {
    let rate = r#"trip.failure_rate = { ratio = 0.5, window = "30s" }"#;
    let alone = Policy::new().trip(Trip::failure_rate(0.5, secs(30)));
    assert_eq!(from_toml(rate), alone);
    let either = Policy::new().trip(Trip::consecutive(2).or_failure_rate(0.5, secs(30)));
    assert_eq!(from_toml(&format!("trip.consecutive = 2\n{rate}")), either);
    let other_settings = from_toml(r#"trip = { within = "1m", slow_call = "1s" }"#);
    let in_a_row = Trip::default().within(secs(60)).slow_call(secs(1));
    assert_eq!(other_settings, Policy::new().trip(in_a_row));
}

#[test]
fn parts_can_be_read_alone() {
    let trip: Trip = toml::from_str("consecutive = 3").unwrap();
    assert_eq!(trip, Trip::consecutive(3));
    let backoff: Backoff = toml::from_str(r#"constant = "3s""#).unwrap();
    assert_eq!(backoff, Backoff::constant(secs(3)));
    let trials: Trials = toml::from_str("at_once = 3").unwrap();
    assert_eq!(trials, Trials::new(3));
    let throttle: Throttle = toml::from_str(r#"max_wait = "3s""#).unwrap();
    assert_eq!(throttle, Throttle::default().max_wait(secs(3)));
    for jitter in [Jitter::None, Jitter::Equal, Jitter::Full] {
        assert_eq!(json!(jitter), jitter.to_string());
        assert_eq!(
            serde_json::from_value::<Jitter>(json!(jitter)).unwrap(),
            jitter
        );
    }
}

// Invalid values.

/// Scenario 16.
#[test]
fn counts_beyond_their_limits_are_refused_by_name() {
    let settings = |count: Value| {
        let rate = json!({"ratio": 0.5, "window": "1s", "min_calls": count});
        [
            ("trip.consecutive", json!({"trip": {"consecutive": count}})),
            (
                "trip.failure_rate.min_calls",
                json!({"trip": {"failure_rate": rate}}),
            ),
            ("trials.at_once", json!({"trials": {"at_once": count}})),
            ("trials.to_close", json!({"trials": {"to_close": count}})),
        ]
    };
    for (name, policy) in settings(json!(0)) {
        assert_eq!(
            refusal(&policy),
            format!("{name}: must be at least 1, got 0")
        );
    }
    for (count, got) in [
        (json!(-1), "-1"),
        (json!(4_294_967_296_u64), "4294967296"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(2.0), "2.0"),
        (json!("two"), r#""two""#),
        (json!(true), "true"),
        (json!([2]), "a list"),
        (json!({"count": 2}), "a table"),
    ] {
        for (name, policy) in settings(count) {
            let must = "must be a whole number of at most 4294967295";
            assert_eq!(refusal(&policy), format!("{name}: {must}, got {got}"));
        }
    }
    for (_, policy) in settings(json!(u32::MAX)) {
        let _accepted = from_json(policy);
    }
}

fn durations(text: &Value) -> Vec<(&'static str, Value)> {
    let rate = json!({"ratio": 0.5, "window": text});
    vec![
        ("trip.within", json!({"trip": {"within": text}})),
        ("trip.slow_call", json!({"trip": {"slow_call": text}})),
        ("backoff.constant", json!({"backoff": {"constant": text}})),
        (
            "backoff.exponential.first",
            json!({"backoff": {"exponential": {"first": text, "max": "1h"}}}),
        ),
        ("backoff.max_hold", json!({"backoff": {"max_hold": text}})),
        ("trials.lease", json!({"trials": {"lease": text}})),
        (
            "throttle.default_wait",
            json!({"throttle": {"default_wait": text}}),
        ),
        ("throttle.max_wait", json!({"throttle": {"max_wait": text}})),
        // Settings that may be zero, or have a larger minimum.
        (
            "trip.cancelled_after",
            json!({"trip": {"cancelled_after": text}}),
        ),
        ("trials.pause", json!({"trials": {"pause": text}})),
        (
            "trip.failure_rate.window",
            json!({"trip": {"failure_rate": rate}}),
        ),
        (
            "backoff.exponential.max",
            json!({"backoff": {"exponential": {"first": "1ns", "max": text}}}),
        ),
    ]
}

/// Scenario 16.
#[test]
fn durations_beyond_their_limits_are_refused_by_name() {
    for (name, policy) in &durations(&json!("0s"))[..8] {
        let must = "must be longer than zero, got 0ns";
        assert_eq!(refusal(policy), format!("{name}: {must}"));
    }
    let rate = |window| json!({"trip": {"failure_rate": {"ratio": 0.5, "window": window}}});
    assert_eq!(
        refusal(&rate("999us")),
        "trip.failure_rate.window: must be at least 1ms, got 999µs"
    );
    let _accepted = from_json(rate("1ms"));
    let growing = |first, max| json!({"backoff": {"exponential": {"first": first, "max": max}}});
    assert_eq!(
        refusal(&growing("2s", "1s")),
        "backoff.exponential.max: must be at least first (2s), got 1s"
    );
    let _accepted = from_json(growing("2s", "2s"));
}

#[test]
fn durations_that_overflow_are_refused_by_name() {
    for text in [
        "18446744073709551615s 1000000000ns",
        "18446744073709551615s 999999999ns 1ns",
        "18446744073709551614s 1000ms 1000000us 1s",
        "18446744073709551615s1000ms",
        "18446744073709551614.5s 1.5s",
        "584542046090years 7months 15days 17h 5m 3s 1000ms",
        "18446744073709551616s",
    ] {
        for (name, policy) in durations(&json!(text)) {
            let must = r#"must be a duration with its unit, such as "60s""#;
            let said = refusal(&policy);
            assert!(
                said.starts_with(&format!("{name}: {must}, got {text:?}: ")),
                "{said}"
            );
        }
        let file = format!("backoff = {{ constant = {text:?} }}");
        let error = toml::from_str::<Policy>(&file).unwrap_err().to_string();
        assert!(error.contains("backoff.constant"), "{error}");
    }
}

#[test]
fn durations_without_a_unit_are_refused_by_name() {
    let must = r#"must be a duration with its unit, such as "60s""#;
    for (given, got) in [
        (json!(60), "60"),
        (json!(1.5), "1.5"),
        (json!(true), "true"),
        (json!(["60s"]), "a list"),
        (json!({"secs": 60, "nanos": 0}), "a table"),
        (
            json!("60"),
            r#""60": time unit needed, for example 60sec or 60ms"#,
        ),
        (json!(""), r#""": value was empty"#),
        (json!("-1s"), r#""-1s": expected number at 0"#),
    ] {
        for (name, policy) in durations(&given) {
            assert_eq!(refusal(&policy), format!("{name}: {must}, got {got}"));
        }
    }
    let parsecs = refusal(&json!({"backoff": {"constant": "60 parsecs"}}));
    let beginning =
        format!(r#"backoff.constant: {must}, got "60 parsecs": unknown time unit "parsecs""#);
    assert!(parsecs.starts_with(&beginning), "{parsecs}");
    let for_ever = refusal(&json!({"trials": {"lease": "99999999999999999999y"}}));
    let beginning =
        format!(r#"trials.lease: {must}, got "99999999999999999999y": number is too large"#);
    assert!(for_ever.starts_with(&beginning), "{for_ever}");
}

/// Scenario 16.
#[test]
fn ratios_and_factors_that_nobody_can_mean_are_refused_by_name() {
    let rate = |ratio: Value| json!({"trip": {"failure_rate": {"ratio": ratio, "window": "1s"}}});
    for (ratio, got) in [(0.0, "0"), (-0.5, "-0.5"), (1.5, "1.5")] {
        let must = "must be above 0 and at most 1";
        let said = format!("trip.failure_rate.ratio: {must}, got {got}");
        assert_eq!(refusal(&rate(json!(ratio))), said);
    }
    assert_eq!(
        refusal(&rate(json!("half"))),
        r#"trip.failure_rate.ratio: must be a number, got "half""#
    );
    assert_eq!(from_json(rate(json!(1))), from_json(rate(json!(1.0))));

    let growing = |factor| {
        format!(r#"backoff.exponential = {{ first = "1s", max = "2s", factor = {factor} }}"#)
    };
    for (factor, got) in [("0.5", "0.5"), ("nan", "NaN"), ("inf", "inf"), ("0", "0")] {
        let error = toml::from_str::<Policy>(&growing(factor)).unwrap_err();
        let must = "must be at least 1 and finite";
        assert_eq!(
            error.message(),
            format!("backoff.exponential.factor: {must}, got {got}")
        );
    }
    for (share, got) in [
        ("-0.1", "-0.1"),
        ("1.1", "1.1"),
        ("nan", "NaN"),
        ("inf", "inf"),
    ] {
        let error = toml::from_str::<Policy>(&format!("throttle.jitter = {share}")).unwrap_err();
        let must = "must be at least 0 and at most 1";
        assert_eq!(
            error.message(),
            format!("throttle.jitter: {must}, got {got}")
        );
    }
    assert_eq!(
        refusal(&json!({"throttle": {"jitter": "full"}})),
        r#"throttle.jitter: must be a number, got "full""#
    );
    for share in [0, 1] {
        let _accepted = from_json(json!({"throttle": {"jitter": share}}));
    }
    let not_a_number = r#"trip.failure_rate = { ratio = nan, window = "1s" }"#;
    let error = toml::from_str::<Policy>(not_a_number).unwrap_err();
    assert_eq!(
        error.message(),
        "trip.failure_rate.ratio: must be above 0 and at most 1, got NaN"
    );
}

#[test]
fn what_is_not_a_setting_is_refused() {
    for (given, said) in [
        (
            json!({"tripp": {}}),
            "unknown field `tripp`, expected one of \
             `observe_only`, `release_on_open`, `measure_latency`, `trip`, `backoff`, `trials`, `throttle`",
        ),
        (
            json!({"trip": {"consecutve": 2}}),
            "unknown field `consecutve`, expected one of \
             `consecutive`, `exact`, `within`, `slow_call`, `cancelled_after`, `failure_rate`",
        ),
        (
            json!({"trip": {"failure_rate": {"rate": 0.5}}}),
            "unknown field `rate`, expected one of `ratio`, `window`, `min_calls`",
        ),
        (
            json!({"backoff": {"wait": "1s"}}),
            "unknown field `wait`, expected one of \
             `constant`, `jitter`, `max_hold`, `exponential`",
        ),
        (
            json!({"backoff": {"exponential": {"jitter": "full"}}}),
            "unknown field `jitter`, expected one of `first`, `max`, `factor`",
        ),
        (
            json!({"trials": {"new": 1}}),
            "unknown field `new`, expected one of \
             `at_once`, `to_close`, `lease`, `pause`, `by_probe_only`, `slow_start`",
        ),
        (
            json!({"throttle": {"wait": "1s"}}),
            "unknown field `wait`, expected one of `default_wait`, `max_wait`, `jitter`",
        ),
        (
            json!({"backoff": {"jitter": "some"}}),
            "backoff.jitter: unknown variant `some`, expected one of `none`, `equal`, `full`",
        ),
        (
            json!({"backoff": {"jitter": 0.5}}),
            "backoff.jitter: must be a string, got 0.5",
        ),
        (
            json!({"trials": {"by_probe_only": "yes"}}),
            r#"trials.by_probe_only: must be true or false, got "yes""#,
        ),
        (
            json!({"observe_only": 1}),
            "observe_only: must be true or false, got 1",
        ),
        (
            json!({"backoff": "60s"}),
            r#"invalid type: string "60s", expected the table `backoff`"#,
        ),
        (
            json!({"trip": {"failure_rate": 0.5}}),
            "invalid type: floating point `0.5`, expected the table `trip.failure_rate`",
        ),
        (
            json!(5),
            "invalid type: integer `5`, expected a table of policy settings",
        ),
    ] {
        assert_eq!(refusal(&given), said);
    }
}

#[test]
fn what_belongs_together_is_asked_for() {
    for (given, said) in [
        (
            json!({"trip": {"failure_rate": {"ratio": 0.5}}}),
            "trip.failure_rate.window: must be given",
        ),
        (
            json!({"trip": {"failure_rate": {"window": "1s"}}}),
            "trip.failure_rate.ratio: must be given",
        ),
        (
            json!({"backoff": {"exponential": {"first": "1s"}}}),
            "backoff.exponential.max: must be given",
        ),
        (
            json!({"backoff": {"exponential": {"max": "1s"}}}),
            "backoff.exponential.first: must be given",
        ),
        (
            json!({"backoff": {"constant": "1s", "exponential": {"first": "1s", "max": "2s"}}}),
            "backoff: must be constant or exponential, got both",
        ),
    ] {
        assert_eq!(refusal(&given), said);
    }
}

#[test]
fn refusal_says_where_in_the_file_it_is() {
    let file = "[trials]\nat_once = 1\n\n[trip]\nconsecutive = 0\n";
    let error = toml::from_str::<Policy>(file).unwrap_err();
    assert_eq!(
        error.message(),
        "trip.consecutive: must be at least 1, got 0"
    );
    let span = error.span().expect("a place");
    assert!(file[span].starts_with("[trip]"));
}

// Settings over a base.

/// A policy that differs from the default in every setting.
fn base() -> Policy {
    Policy::new()
        .trip(
            Trip::consecutive(7)
                .exact()
                .or_failure_rate(0.25, secs(40))
                .min_calls(9)
                .within(secs(90))
                .slow_call(secs(8))
                .cancelled_after(secs(6)),
        )
        .backoff(
            Backoff::exponential(secs(3), secs(100))
                .factor(3.0)
                .jitter(Jitter::Equal)
                .max_hold(secs(500)),
        )
        .trials(
            Trials::new(4)
                .to_close(3)
                .lease(secs(20))
                .pause(secs(2))
                .by_probe_only(true),
        )
        .throttle(
            Throttle::default()
                .default_wait(secs(5))
                .max_wait(secs(50))
                .jitter(0.5),
        )
        .observe_only(true)
}

#[track_caller]
fn laid_over(base: &Policy, text: &str) -> Policy {
    let table = toml::Deserializer::parse(text).unwrap();
    base.deserialize(table).expect("a policy")
}

#[test]
fn what_is_not_written_is_that_of_the_base() {
    let base = base();
    for nothing in ["", "trip = {}\nbackoff = {}\ntrials = {}\nthrottle = {}"] {
        assert_eq!(laid_over(&base, nothing), base);
    }
    let backoff = Backoff::constant(secs(9))
        .jitter(Jitter::Equal)
        .max_hold(secs(500));
    assert_eq!(
        laid_over(&base, r#"backoff.constant = "9s""#),
        base.clone().backoff(backoff)
    );
    let trials = Trials::new(4).to_close(1).lease(secs(20)).pause(secs(2));
    assert_eq!(
        laid_over(&base, "trials = { to_close = 1, by_probe_only = false }"),
        base.clone().trials(trials)
    );
    let throttle = Throttle::default()
        .default_wait(secs(5))
        .max_wait(secs(30))
        .jitter(0.5);
    assert_eq!(
        laid_over(&base, r#"throttle.max_wait = "30s""#),
        base.clone().throttle(throttle)
    );
}

#[test]
fn settings_of_a_table_within_a_table_are_those_of_the_base_too() {
    let trip = |ratio, window, calls| {
        Trip::consecutive(7)
            .exact()
            .or_failure_rate(ratio, secs(window))
            .min_calls(calls)
            .within(secs(60))
            .slow_call(secs(8))
            .cancelled_after(secs(6))
    };
    for (rate, expected) in [
        ("", trip(0.25, 40, 9)),
        ("failure_rate.ratio = 0.5\n", trip(0.5, 40, 9)),
        (r#"failure_rate.window = "1m""#, trip(0.25, 60, 9)),
        ("failure_rate.min_calls = 1", trip(0.25, 40, 1)),
    ] {
        let text = format!("[trip]\nwithin = \"1m\"\n{rate}");
        assert_eq!(laid_over(&base(), &text), base().trip(expected));
    }
    let backoff = |first, max, factor| {
        Backoff::exponential(secs(first), secs(max))
            .factor(factor)
            .jitter(Jitter::Equal)
            .max_hold(secs(500))
    };
    for (growth, expected) in [
        (r#"first = "5s""#, backoff(5, 100, 3.0)),
        (r#"max = "200s""#, backoff(3, 200, 3.0)),
        ("factor = 1.5", backoff(3, 100, 1.5)),
    ] {
        let text = format!("backoff.exponential = {{ {growth} }}");
        assert_eq!(laid_over(&base(), &text), base().backoff(expected));
    }
}

/// A rate joins the count of a base. Without a base it replaces the default count.
#[test]
fn rate_over_a_count_leaves_the_count() {
    let base = Policy::new().trip(Trip::consecutive(4));
    let rate = r#"trip.failure_rate = { ratio = 0.5, window = "30s" }"#;
    let both = Trip::consecutive(4).or_failure_rate(0.5, secs(30));
    assert_eq!(laid_over(&base, rate), Policy::new().trip(both));
    let alone = Trip::failure_rate(0.5, secs(30));
    assert_eq!(from_toml(rate), Policy::new().trip(alone));
}

#[test]
fn parts_are_laid_over_theirs() {
    let trip = Trip::consecutive(4).deserialize(json!({"within": "1m"}));
    assert_eq!(trip.unwrap(), Trip::consecutive(4).within(secs(60)));
    let throttle = Throttle::default().deserialize(json!({"max_wait": "1m"}));
    assert_eq!(throttle.unwrap(), Throttle::default().max_wait(secs(60)));
}

#[test]
fn what_does_not_fit_its_base_is_refused_by_name() {
    for (base, over, said) in [
        (
            base(),
            json!({"trip": {"within": "1m", "consecutive": 0}}),
            "trip.consecutive: must be at least 1, got 0",
        ),
        (
            base(),
            json!({"backoff": {"exponential": {"first": "200s"}}}),
            "backoff.exponential.max: must be at least first (200s), got 100s",
        ),
        (
            Policy::new(),
            json!({"backoff": {"exponential": {"max": "200s"}}}),
            "backoff.exponential.first: must be given",
        ),
        (
            Policy::new(),
            json!({"trip": {"failure_rate": {"min_calls": 3}}}),
            "trip.failure_rate.ratio: must be given",
        ),
        (
            base(),
            json!({"backof": {}}),
            "unknown field `backof`, expected one of \
             `observe_only`, `release_on_open`, `measure_latency`, `trip`, `backoff`, `trials`, `throttle`",
        ),
    ] {
        assert_eq!(base.deserialize(over).unwrap_err().to_string(), said);
    }
    let twice = r#"{"trip": {}, "trip": {}}"#;
    let error = serde_json::from_str::<Policy>(twice).unwrap_err();
    assert!(
        error.to_string().starts_with("duplicate field `trip`"),
        "{error}"
    );
}

// Serialization.

#[test]
fn policy_is_written_in_full() {
    let default = json!({
        "observe_only": false, "release_on_open": false, "measure_latency": false,
        "trip": {"consecutive": 2, "exact": false, "within": "5m"},
        "backoff": {"constant": "1m", "jitter": "none", "max_hold": "10m"},
        "trials": {"at_once": 1, "to_close": 1, "lease": "1m", "pause": "1s", "by_probe_only": false, "slow_start": false},
        "throttle": {"default_wait": "15s", "max_wait": "1h", "jitter": 0.1},
    });
    assert_eq!(json!(Policy::new()), default);
    let growing = Backoff::exponential(secs(5), secs(5));
    let written = json!({
        "exponential": {"first": "5s", "max": "5s", "factor": 2.0},
        "jitter": "none", "max_hold": "10m",
    });
    assert_eq!(json!(growing), written);
    let rate = json!({
        "exact": false, "within": "5m", "slow_call": "1s 500ms", "cancelled_after": "0s",
        "failure_rate": {"ratio": 0.5, "window": "1m 30s", "min_calls": 20},
    });
    let trip = Trip::failure_rate(0.5, secs(90))
        .slow_call(Duration::from_millis(1_500))
        .cancelled_after(Duration::ZERO);
    assert_eq!(json!(trip), rate);
}

fn lengths() -> impl Strategy<Value = Duration> {
    let nanos = prop_oneof![
        Just(Duration::MAX),
        (1..10_u64).prop_map(secs),
        any::<u64>().prop_map(Duration::from_nanos),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ];
    nanos.prop_map(|length| length.max(Duration::from_millis(1)))
}

prop_compose! {
    fn trips()(
        failures in proptest::option::of(1..=u32::MAX),
        rate in (0.0..1.0_f64, lengths(), 1..=u32::MAX),
        is_either in any::<bool>(),
        within in lengths(),
        slow in proptest::option::of(lengths()),
        cancelled in proptest::option::of(lengths()),
    ) -> Trip {
        let (ratio, window, calls) = (1.0 - rate.0, rate.1, rate.2);
        let trip = match failures {
            None => Trip::failure_rate(ratio, window).min_calls(calls),
            Some(failures) if is_either => Trip::consecutive(failures).or_failure_rate(ratio, window).min_calls(calls),
            Some(failures) => Trip::consecutive(failures),
        };
        let trip = slow.into_iter().fold(trip.within(within), Trip::slow_call);
        cancelled.into_iter().fold(trip, Trip::cancelled_after)
    }
}

prop_compose! {
    fn backoffs()(
        first in lengths(),
        more in lengths(),
        factor in prop_oneof![Just(1.0), Just(2.0), 1.0..f64::MAX],
        is_constant in any::<bool>(),
        jitter in prop_oneof![Just(Jitter::None), Just(Jitter::Equal), Just(Jitter::Full)],
        hold in lengths(),
    ) -> Backoff {
        let backoff = if is_constant {
            Backoff::constant(first)
        } else {
            Backoff::exponential(first, first.saturating_add(more))
        };
        backoff.factor(factor).jitter(jitter).max_hold(hold)
    }
}

prop_compose! {
    fn policies()(
        trip in trips(),
        backoff in backoffs(),
        (at_once, to_close) in (1..=u32::MAX, 1..=u32::MAX),
        times in [lengths(), lengths(), lengths(), lengths()],
        (by_probe_only, slow_start, observe_only, release_on_open) in any::<(bool, bool, bool, bool)>(),
        share in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f64],
    ) -> Policy {
        let [lease, pause, default_wait, max_wait] = times;
        let trials = Trials::new(at_once).to_close(to_close).lease(lease).pause(pause)
            .by_probe_only(by_probe_only);
        let trials = if slow_start { trials.slow_start() } else { trials };
        let throttle = Throttle::default().default_wait(default_wait).max_wait(max_wait).jitter(share);
        Policy::new().trip(trip).backoff(backoff).trials(trials).throttle(throttle)
            .observe_only(observe_only).release_on_open(release_on_open)
    }
}

/// Times near the maximum of a `Duration`.
fn just_too_long() -> impl Strategy<Value = String> {
    let seconds = (u64::MAX - 2..=u64::MAX).prop_map(|seconds| format!("{seconds}s"));
    let more = "( ?(1|2|999|1000|999999999|1000000000)(ns|us|ms|s)){0,4}";
    (seconds, more).prop_map(|(seconds, more)| seconds + &more)
}

/// Possible values of a setting.
fn settings() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        (0..4_i64).prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        (0..=1_200_u32, "(ns|us|ms|s|m|h|d|y|)").prop_map(|(n, unit)| json!(format!("{n}{unit}"))),
        just_too_long().prop_map(|text| json!(text)),
        "(none|equal|full|\\PC{0,12})".prop_map(|text| json!(text)),
    ]
}

/// Possible tables of a policy.
fn tables() -> impl Strategy<Value = Value> {
    let names = "(consecutive|within|slow_call|cancelled_after|failure_rate|ratio|window|min_calls|constant|\
                 exponential|first|max|factor|jitter|max_hold|at_once|to_close|lease|pause|by_probe_only|\
                 default_wait|max_wait|observe_only|release_on_open|slow_start|trip|backoff|trials|throttle)";
    settings().prop_recursive(3, 16, 4, move |inner| {
        proptest::collection::hash_map(names, inner, 0..4).prop_map(|table| json!(table))
    })
}

proptest! {
    #[test]
    fn every_policy_comes_back_from_json_and_toml(policy in policies()) {
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), &policy, "{}", json);
        // TOML's integers are signed.
        let toml = toml::to_string(&policy).unwrap();
        prop_assert_eq!(&toml::from_str::<Policy>(&toml).unwrap(), &policy, "{}", toml);
    }

    #[test]
    fn nothing_that_is_written_panics_and_what_is_accepted_comes_back(
        tables in ["trip", "backoff", "trials", "throttle"].map(|name| (Just(name), tables())),
    ) {
        for (name, table) in tables {
            let Ok(policy) = serde_json::from_value::<Policy>(json!({ name: table })) else {
                continue;
            };
            let again = serde_json::from_value::<Policy>(json!(policy)).unwrap();
            prop_assert_eq!(again, policy);
        }
    }
}

// Reloading while the provider is in use.

#[tokio::test(start_paused = true)]
async fn new_configuration_keeps_the_state_of_a_live_provider() {
    let rig = Rig::open(from_toml(r#"backoff.constant = "30s""#));
    advance(secs(10)).await;
    let before = rig.health();
    rig.set_policy(from_toml(r#"backoff.constant = "5s""#));
    assert_eq!(rig.health(), before, "it ends when it would have");

    rig.await_half_open().await;
    let trial = rig.trial();
    rig.set_policy(from_toml("trials = { at_once = 2, to_close = 2 }"));
    assert!(rig.call().is_trial(), "the second slot is there at once");
    trial.success();
    assert_eq!(rig.state(), State::HalfOpen);
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);

    rig.fail();
    rig.set_policy(from_toml("trip.consecutive = 3"));
    rig.fail();
    assert_eq!(rig.state(), State::Closed);
    rig.fail();
    assert_eq!(rig.state(), State::Open, "the failure from before counts");
}

#[tokio::test(start_paused = true)]
async fn configuration_that_is_refused_leaves_the_policy_in_force() {
    let rig = Rig::new(from_toml("trip.consecutive = 4"));
    toml::from_str::<Policy>("trip.consecutive = 0").unwrap_err();
    assert_eq!(rig.policy(), Policy::new().trip(Trip::consecutive(4)));
}
