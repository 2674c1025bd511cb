//! Settings and their limits.

use std::{future::ready, panic, time::Duration};

use tower_health::{Check, HealthCache, HealthProbe};

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
