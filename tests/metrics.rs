//! Feature `metrics`: what a Prometheus exporter shows.

use std::{
    fmt::Display,
    future::{pending, ready},
    io,
    sync::Arc,
    time::Duration,
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::{
    runtime::Builder,
    time::{advance, sleep},
};
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    BoxError, Check, Exhausted, FallbackChain, HealthCache, HealthLayer, HealthProbe, Outcome,
    Override, Policy, Provider, State, Trip,
};

/// Runs a test in paused time, with an exporter of its own.
fn exported<F: Future>(test: impl FnOnce(Exporter) -> F) -> F::Output {
    let recorder: PrometheusRecorder = PrometheusBuilder::new().build_recorder();
    let exporter = Exporter(recorder.handle());
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    with_local_recorder(&recorder, || runtime.unwrap().block_on(test(exporter)))
}

struct Exporter(PrometheusHandle);

impl Exporter {
    /// Returns the value of a series, or `None` if it does not exist.
    fn value(&self, series: impl Display) -> Option<u32> {
        let begin = format!("{series} ");
        let text = self.0.render();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&begin));
        values.next().map(|value| value.parse().unwrap())
    }

    #[track_caller]
    fn assert<const SERIES: usize>(&self, expected: [(&str, u32); SERIES]) {
        for (series, value) in expected {
            let series = format!("tower_health_{series}");
            assert_eq!(self.value(&series), Some(value), "{series}");
        }
    }

    fn calls(&self, provider: &str) -> [(&'static str, u32); 6] {
        [
            "success",
            "failure",
            "throttled",
            "answered",
            "neutral",
            "refused",
        ]
        .map(|outcome| {
            let labels = format!(r#"{{provider="{provider}",outcome="{outcome}"}}"#);
            let calls = self.value(format!("tower_health_calls_total{labels}"));
            (outcome, calls.unwrap())
        })
    }

    /// Returns the values of closed, open and half-open.
    fn states(&self, provider: &str) -> [u32; 3] {
        ["closed", "open", "half-open"].map(|state| {
            let labels = format!(r#"{{provider="{provider}",state="{state}"}}"#);
            self.value(format!("tower_health_state{labels}")).unwrap()
        })
    }
}

const CLOSED: [u32; 3] = [1, 0, 0];
const OPEN: [u32; 3] = [0, 1, 0];
const HALF_OPEN: [u32; 3] = [0, 0, 1];
const IN_NONE: [u32; 3] = [0; 3];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fail(provider: &Provider) {
    provider.admit().unwrap().failure("down");
}

fn trip(provider: &Provider) {
    fail(provider);
    fail(provider);
    assert_eq!(provider.health().state, State::Open);
}

#[test]
fn each_call_is_counted_once_by_what_it_says() {
    for trip in [
        Trip::consecutive(3),
        Trip::consecutive(3).or_failure_rate(0.9, secs(3_600)),
        Trip::consecutive(3).cancelled_after(secs(60)),
    ] {
        exported(async |exporter| {
            let provider = HealthCache::new(Policy::new().trip(trip)).provider("a");
            for _ in 0..5 {
                provider.admit().unwrap().success();
            }
            drop(provider.admit().unwrap());
            provider.admit().unwrap().answered();
            provider.admit().unwrap().neutral();
            fail(&provider);
            provider.admit().unwrap().throttled(None, "slow down");
            provider.admit().unwrap_err();

            let expected = [
                ("success", 5),
                ("failure", 1),
                ("throttled", 1),
                ("answered", 1),
                ("neutral", 2),
                ("refused", 1),
            ];
            assert_eq!(exporter.calls("a"), expected);
        });
    }
}

#[test]
fn slow_success_counts_as_the_failure_that_it_is() {
    exported(async |exporter| {
        let trip = Trip::default().slow_call(secs(1)).cancelled_after(secs(1));
        let provider = HealthCache::new(Policy::new().trip(trip)).provider("a");
        let (slow, cancelled) = (provider.admit().unwrap(), provider.admit().unwrap());
        advance(secs(1)).await;
        slow.success();
        drop(cancelled);
        exporter.assert([
            (r#"calls_total{provider="a",outcome="failure"}"#, 2),
            (r#"calls_total{provider="a",outcome="success"}"#, 0),
        ]);
    });
}

#[test]
fn layers_of_one_provider_in_each_other_count_a_call_once() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        let inner = service_fn(|()| ready(Ok::<_, io::Error>(())));
        let layer = HealthLayer::new(provider.clone());
        let mut service = layer.layer(layer.layer(inner));
        service.ready().await.unwrap().call(()).await.unwrap();
        drop(service.ready().await.unwrap().call(()));
        let [success, .., neutral, _] = exporter.calls("a");
        assert_eq!([success.1, neutral.1], [1, 1]);
    });
}

/// Scenario 14.
#[test]
fn state_is_one_hot_all_the_way_round() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        assert_eq!(exporter.states("a"), CLOSED);
        trip(&provider);
        assert_eq!(exporter.states("a"), OPEN);
        advance(secs(60)).await;
        let trial = provider.admit().unwrap();
        assert_eq!(exporter.states("a"), HALF_OPEN);
        trial.failure("still down");
        assert_eq!(exporter.states("a"), OPEN);
        provider.force(Override::Closed, secs(1), "let me");
        assert_eq!(exporter.states("a"), CLOSED);
        provider.unforce();
        assert_eq!(exporter.states("a"), OPEN);
        provider.mark_healthy();
        assert_eq!(exporter.states("a"), CLOSED);
        exporter.assert([
            (
                r#"transitions_total{provider="a",to="open",cause="failures"}"#,
                3,
            ),
            (
                r#"transitions_total{provider="a",to="half-open",cause="failures"}"#,
                1,
            ),
            (
                r#"transitions_total{provider="a",to="closed",cause="forced"}"#,
                1,
            ),
            (
                r#"transitions_total{provider="a",to="closed",cause="failures"}"#,
                1,
            ),
        ]);
    });
}

/// A counter starts at 0, because the rate of a series that starts at 1 is 0.
#[test]
fn transitions_and_ends_of_chains_are_shown_before_there_are_any() {
    exported(async |exporter| {
        let _chain = FallbackChain::<(), ()>::new();
        exporter.assert([("exhausted_total", 0)]);
        let _provider = HealthCache::default().provider("a");
        for to in ["closed", "open", "half-open"] {
            for cause in ["failures", "throttled", "probe", "forced", "peer"] {
                let labels = format!(r#"{{provider="a",to="{to}",cause="{cause}"}}"#);
                let series = format!("tower_health_transitions_total{labels}");
                assert_eq!(exporter.value(&series), Some(0), "{series}");
            }
        }
    });
}

#[test]
fn window_that_runs_out_with_nobody_calling_shows_where_a_probe_runs() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        let probe = HealthProbe::new(&cache).spawn();
        trip(&provider);
        sleep(secs(61)).await;
        assert_eq!(exporter.states("a"), HALF_OPEN);
        exporter.assert([(r#"open_seconds_total{provider="a"}"#, 60)]);
        probe.stop().await;
    });
}

#[test]
fn window_that_runs_out_with_nobody_calling_shows_once_somebody_looks() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        trip(&cache.provider("a"));
        advance(secs(90)).await;
        let _ = cache.snapshot();
        assert_eq!(exporter.states("a"), HALF_OPEN);
        exporter.assert([(r#"open_seconds_total{provider="a"}"#, 60)]);
    });
}

#[test]
fn open_seconds_grow_while_it_is_open_and_lose_no_fraction() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        trip(&provider);
        for half_seconds in 1..=20 {
            advance(Duration::from_millis(500)).await;
            let _ = provider.health();
            exporter.assert([(r#"open_seconds_total{provider="a"}"#, half_seconds / 2)]);
        }
        provider.mark_healthy();
        advance(secs(60)).await;
        let _ = provider.health();
        exporter.assert([(r#"open_seconds_total{provider="a"}"#, 10)]);
    });
}

#[test]
fn trials_and_late_results_are_counted_apart() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        let late = [(); 2].map(|()| provider.admit().unwrap());
        trip(&provider);
        let [late, late_and_silent] = late;
        late.success();
        late_and_silent.neutral();
        advance(secs(60)).await;
        drop(provider.admit().unwrap());
        advance(secs(1)).await;
        provider.admit().unwrap().failure("still down");
        advance(secs(60)).await;
        provider.admit().unwrap().success();
        exporter.assert([
            (r#"late_results_total{provider="a"}"#, 1),
            (r#"calls_total{provider="a",outcome="neutral"}"#, 2),
            (r#"trials_total{provider="a",outcome="neutral"}"#, 1),
            (r#"trials_total{provider="a",outcome="failure"}"#, 1),
            (r#"trials_total{provider="a",outcome="success"}"#, 1),
            (r#"calls_total{provider="a",outcome="success"}"#, 2),
        ]);
    });
}

#[test]
fn checks_are_counted_by_how_they_end_and_timed() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let probe = HealthProbe::new(&cache)
            .check("passes", || async { true })
            .check("fails", || async { false })
            .check("hangs", pending::<bool>)
            .check("panics", || async { panic!("<b>check</b>") as bool })
            .check_with(
                "answers",
                Check::new(|| async { Outcome::Answered }).functional(),
            );
        probe.round().await;
        exporter.assert([
            (r#"probes_total{provider="passes",result="passed"}"#, 1),
            (r#"probes_total{provider="fails",result="failed"}"#, 1),
            (r#"probes_total{provider="answers",result="answered"}"#, 1),
            (r#"probes_total{provider="hangs",result="timed-out"}"#, 1),
            (r#"probes_total{provider="panics",result="panicked"}"#, 1),
            (r#"probe_duration_seconds_count{provider="hangs"}"#, 1),
            (r#"probe_duration_seconds_sum{provider="hangs"}"#, 3),
        ]);
    });
}

#[test]
fn fallbacks_tell_from_whom_to_whom_and_why() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let answer = |id: &'static str| {
            let answer = service_fn(move |can_serve: bool| {
                ready(match id {
                    "c" if can_serve => Ok(()),
                    _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                })
            });
            HealthLayer::new(cache.provider(id)).layer(answer)
        };
        let mut chain = FallbackChain::new()
            .entry(cache.provider("a"), answer("a"))
            .entry(cache.provider("b"), answer("b"))
            .entry(cache.provider("c"), answer("c"));
        cache
            .provider("a")
            .force(Override::Open, secs(60), "maintenance");

        chain.call(true).await.unwrap();
        chain.call(true).await.unwrap();
        chain.call(false).await.unwrap_err();
        exporter.assert([
            (
                r#"fallbacks_total{from="a",to="b",reason="circuit open"}"#,
                2,
            ),
            (r#"fallbacks_total{from="b",to="c",reason="connect"}"#, 2),
            (
                r#"fallbacks_total{from="a",to="c",reason="circuit open"}"#,
                1,
            ),
            (
                r#"fallbacks_total{from="b",to="c",reason="circuit open"}"#,
                1,
            ),
            ("exhausted_total", 1),
        ]);
    });
}

/// A call that fails open is counted like any other.
#[test]
fn calls_of_a_chain_that_fails_open_are_counted() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let a = cache.provider("a");
        let mut chain = FallbackChain::new()
            .guard(
                a.clone(),
                service_fn(|()| ready(Err::<(), _>(io::Error::other("down")))),
            )
            .when_exhausted(Exhausted::FailOpen);
        trip(&a);
        for _ in 0..5 {
            chain.call(()).await.unwrap_err();
        }
        exporter.assert([
            // Two calls that tripped, and five that failed open.
            (r#"calls_total{provider="a",outcome="failure"}"#, 7),
            (r#"calls_total{provider="a",outcome="refused"}"#, 0),
            ("exhausted_total", 5),
        ]);
    });
}

#[test]
fn nothing_that_a_provider_says_is_a_label() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let said = || ready(Err::<(), BoxError>("<script>".into()));
        let mut chain = FallbackChain::new();
        for id in ["a", "b"] {
            let provider = cache.provider(id);
            chain = chain.entry(
                provider.clone(),
                HealthLayer::new(provider).layer(service_fn(move |()| said())),
            );
        }
        for _ in 0..3 {
            chain.call(()).await.unwrap_err();
        }
        cache
            .provider("c")
            .admit()
            .unwrap()
            .throttled(None, "<script>".to_owned());
        assert!(!exporter.0.render().contains("script"));
        exporter.assert([(r#"fallbacks_total{from="a",to="b",reason="error"}"#, 2)]);
    });
}

#[test]
fn series_of_a_removed_provider_end() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        trip(&provider);
        cache.remove("a");
        assert_eq!(exporter.states("a"), IN_NONE);

        provider.mark_healthy();
        provider.admit().unwrap().success();
        assert_eq!(exporter.states("a"), IN_NONE);
        exporter.assert([(r#"calls_total{provider="a",outcome="success"}"#, 0)]);

        let _again = cache.provider("a");
        assert_eq!(exporter.states("a"), CLOSED);
        drop((provider, cache));
    });
}

#[test]
fn series_of_a_cache_that_is_gone_end() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        assert_eq!(exporter.states("a"), CLOSED);
        drop(provider);
        assert_eq!(exporter.states("a"), IN_NONE);
    });
}

/// Their ids come from requests and are unbounded, so they must not become labels.
#[test]
fn providers_of_keyed_layers_share_their_series() {
    exported(async |exporter| {
        let cache = HealthCache::default();
        let inner = service_fn(|key: &'static str| {
            ready(if key == "down" {
                Err(io::Error::other("down"))
            } else {
                Ok(())
            })
        });
        let layer = HealthLayer::keyed(&cache, |key: &&'static str| *key);
        let mut service = layer.max_providers(3).layer(inner);
        for key in ["one", "down", "two", "down", "three", "four", "down"] {
            let _ = service.ready().await.unwrap().call(key).await;
        }
        assert!(
            cache
                .get("down")
                .is_some_and(|provider| !provider.is_healthy())
        );
        let [success, failure, .., refused] = exporter.calls("keyed");
        assert_eq!([success.1, failure.1, refused.1], [4, 2, 1]);
        assert_eq!(exporter.states("keyed"), [2, 1, 0], "how many are in each");
        for key in ["one", "two", "three", "four", "down"] {
            assert!(!exporter.0.render().contains(&format!("{key:?}")), "{key}");
        }

        let _ = cache.provider("down");
        assert_eq!(exporter.states("keyed"), [2, 0, 0]);
        assert_eq!(exporter.states("down"), OPEN, "it was asked for by name");
    });
}

#[test]
fn call_that_outlives_its_provider_is_not_counted_for_the_next() {
    exported(async |exporter| {
        let permits = [(); 2].map(|()| HealthCache::default().provider("a").admit().unwrap());
        let cache = HealthCache::default();
        let others = ["b", "c", "d", "e"];
        let _others = others.map(|id| cache.provider(id));
        let [dropped, successful] = permits;
        drop(dropped);
        successful.success();
        for id in others {
            assert!(exporter.calls(id).iter().all(|(_, calls)| *calls == 0));
        }
    });
}

#[test]
fn restored_provider_shows_the_state_that_it_was_restored_to() {
    exported(async |exporter| {
        let before = HealthCache::default();
        trip(&before.provider("a"));
        let cache = HealthCache::default();
        cache.restore(&before.snapshot());
        drop(before);
        assert_eq!(
            exporter.states("keyed"),
            OPEN,
            "nobody has asked for it by name"
        );
        let _provider = cache.provider("a");
        assert_eq!(exporter.states("a"), OPEN);
        assert_eq!(exporter.states("keyed"), IN_NONE);
    });
}

/// A recorder whose every handle panics.
struct Panics;

impl CounterFn for Panics {
    fn increment(&self, _: u64) {
        panic!("recorder");
    }

    fn absolute(&self, _: u64) {
        panic!("recorder");
    }
}

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut labels = key.labels();
        assert!(labels.all(|label| label.value() != "keyed"), "recorder");
        Counter::from_arc(Arc::new(Self))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Rule 8.
#[tokio::test(start_paused = true)]
async fn rule_8_recorder_that_panics_harms_no_call_and_no_listener() {
    let cache = HealthCache::default();
    let mut transitions = cache.subscribe();
    let provider = with_local_recorder(&Panics, || cache.provider("a"));
    provider.admit().unwrap().success();
    drop(provider.admit().unwrap());
    trip(&provider);
    provider.admit().unwrap_err();
    assert_eq!(transitions.recv().await.unwrap().to, State::Open);
    provider.mark_healthy();
    assert_eq!(transitions.recv().await.unwrap().to, State::Closed);

    let inner = service_fn(|_: &'static str| ready(Ok::<_, io::Error>(())));
    let keyed = HealthLayer::keyed(&cache, |key: &&'static str| *key).layer(inner);
    with_local_recorder(&Panics, || {
        assert_ready_ok!(task::spawn(keyed.oneshot("b")).poll());
    });
}

#[test]
fn calls_that_would_have_been_refused_are_counted_by_what_became_of_them() {
    exported(async |exporter| {
        let cache = HealthCache::new(Policy::new().observe_only(true));
        let provider = cache.provider("a");
        let shadow = |outcome| {
            let series =
                format!(r#"tower_health_shadow_total{{provider="a",outcome="{outcome}"}}"#);
            exporter.value(&series).unwrap()
        };
        provider.admit().unwrap().success();
        trip(&provider);
        assert_eq!(
            shadow("success") + shadow("failure"),
            0,
            "the breaker was closed"
        );

        let admit = || provider.admit().unwrap();
        admit().success();
        admit().failure("503");
        admit().failure("503");
        admit().answered();
        drop(admit());
        let counts = ["success", "failure", "throttled", "answered", "neutral"].map(shadow);
        assert_eq!(counts, [1, 2, 0, 1, 1]);
        exporter.assert([(r#"calls_total{provider="a",outcome="refused"}"#, 0)]);

        // A trial is no call that a breaker would have refused.
        advance(secs(60)).await;
        let trial = admit();
        assert!(trial.is_trial());
        admit().success();
        trial.success();
        assert_eq!(shadow("success"), 2, "the one beside the trial");
        admit().success();
        assert_eq!(shadow("success"), 2);
    });
}

#[test]
fn calls_of_a_forced_closed_breaker_are_shadows_while_it_is_open_beneath() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        provider.force(Override::Closed, secs(600), "keep trying");
        let failed = r#"shadow_total{provider="a",outcome="failure"}"#;
        for _ in 0..2 {
            provider.admit().unwrap().failure("503");
        }
        exporter.assert([(failed, 0)]);
        provider.admit().unwrap().failure("503");
        exporter.assert([(failed, 1)]);
    });
}

/// Returns the number of measured calls with an outcome, and the sum of their durations in seconds.
fn measured(exporter: &Exporter, outcome: &str) -> (u32, u32) {
    let value = |part| {
        let labels = format!(r#"{{provider="a",outcome="{outcome}"}}"#);
        let series = format!("tower_health_call_duration_seconds_{part}{labels}");
        exporter.value(series).unwrap_or_default()
    };
    (value("count"), value("sum"))
}

const OUTCOMES: [&str; 5] = ["success", "failure", "throttled", "answered", "neutral"];

#[test]
fn calls_are_not_measured_by_default() {
    exported(async |exporter| {
        let provider = HealthCache::default().provider("a");
        provider.admit().unwrap().success();
        assert_eq!(measured(&exporter, "success"), (0, 0));
    });
}

#[test]
fn duration_of_a_call_is_measured_by_its_outcome() {
    exported(async |exporter| {
        let policy = Policy::new().trip(Trip::consecutive(9));
        let cache = HealthCache::new(policy.measure_latency(true));
        let provider = cache.provider("a");
        let after = async |seconds| {
            let permit = provider.admit().unwrap();
            advance(secs(seconds)).await;
            permit
        };
        after(1).await.success();
        after(2).await.success();
        after(3).await.failure("503");
        after(4).await.fatal("401");
        assert_eq!(measured(&exporter, "success"), (2, 3));
        assert_eq!(measured(&exporter, "failure"), (2, 7));

        provider.mark_healthy();
        after(5).await.answered();
        after(6).await.neutral();
        drop(after(7).await);
        after(8).await.throttled(None, "429");
        let all = OUTCOMES.map(|outcome| measured(&exporter, outcome));
        assert_eq!(all, [(2, 3), (2, 7), (1, 8), (1, 5), (2, 13)]);
    });
}

#[test]
fn duration_ends_when_the_answer_begins() {
    exported(async |exporter| {
        let cache = HealthCache::new(Policy::new().measure_latency(true));
        let provider = cache.provider("a");
        let streamed = async || {
            let mut permit = provider.admit().unwrap();
            advance(secs(1)).await;
            permit.release_slot();
            advance(secs(60)).await;
            permit.release_slot();
            permit
        };
        streamed().await.success();
        streamed().await.failure("cut off");
        drop(streamed().await);
        let all = OUTCOMES.map(|outcome| measured(&exporter, outcome));
        assert_eq!(all, [(1, 1), (1, 1), (0, 0), (0, 0), (1, 1)]);
    });
}

#[test]
fn slow_and_cancelled_calls_are_measured_once() {
    exported(async |exporter| {
        let trip = Trip::consecutive(9)
            .slow_call(secs(3))
            .cancelled_after(secs(1));
        let policy = Policy::new().trip(trip).measure_latency(true);
        let provider = HealthCache::new(policy).provider("a");
        let mut hanging = provider.admit().unwrap();
        hanging.run(sleep(secs(10))).await.unwrap();
        hanging.success();
        assert_eq!(measured(&exporter, "failure"), (1, 3), "at the limit");
        assert_eq!(measured(&exporter, "success"), (0, 0), "counted before");

        let unpolled = provider.admit().unwrap();
        advance(secs(4)).await;
        unpolled.success();
        assert_eq!(measured(&exporter, "failure"), (2, 7));

        let cancelled = provider.admit().unwrap();
        advance(secs(2)).await;
        drop(cancelled);
        assert_eq!(measured(&exporter, "failure"), (3, 9));
    });
}

#[test]
fn calls_that_would_have_been_refused_are_measured_too() {
    exported(async |exporter| {
        let policy = Policy::new().observe_only(true).measure_latency(true);
        let provider = HealthCache::new(policy).provider("a");
        trip(&provider);
        let shadow = provider.admit().unwrap();
        advance(secs(2)).await;
        shadow.success();
        assert_eq!(measured(&exporter, "success"), (1, 2));
    });
}

#[test]
fn late_permit_is_not_measured_for_the_next_provider_of_its_slot() {
    exported(async |exporter| {
        let policy = Policy::new().measure_latency(true);
        let late = HealthCache::new(policy.clone())
            .provider("b")
            .admit()
            .unwrap();
        // Providers enough to use every vacant slot again.
        let cache = HealthCache::new(policy);
        let _others: Vec<_> = (0..64).map(|_| cache.provider("a")).collect();
        late.success();
        assert_eq!(measured(&exporter, "success"), (0, 0));
    });
}

#[cfg(feature = "http")]
#[test]
fn duration_over_http_ends_with_the_first_frame() {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, channel::Channel};
    use tower_health::http::StatusClassifier;

    exported(async |exporter| {
        let cache = HealthCache::new(Policy::new().measure_latency(true));
        let layer = HealthLayer::new(cache.provider("a")).classify(StatusClassifier::new());
        let service = layer.layer(service_fn(|_: Request<()>| async {
            sleep(secs(1)).await;
            let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
            tokio::spawn(async move {
                for _ in 0..3 {
                    sleep(secs(2)).await;
                    sender.send_data("data".into()).await.unwrap();
                }
            });
            Ok::<_, io::Error>(Response::new(body))
        }));
        let answer = service.oneshot(Request::default()).await.unwrap();
        let read = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), 12);
        assert_eq!(measured(&exporter, "success"), (1, 3));
    });
}

#[cfg(feature = "fleet")]
#[test]
fn connection_of_a_fleet_is_a_gauge() {
    use tower_health::{
        BoxError,
        fleet::{Fleet, MemoryStore, Reply, Request, Store},
    };

    struct Refusing;

    impl Store for Refusing {
        async fn exchange(&self, _: &Request) -> Result<Reply, BoxError> {
            Err("connection refused".into())
        }
    }

    exported(async |exporter| {
        let cache = HealthCache::default();
        let fleet = Fleet::new(&cache, MemoryStore::default()).spawn();
        sleep(secs(1)).await;
        exporter.assert([("fleet_connected", 1)]);
        fleet.stop().await;

        let _fleet = Fleet::new(&cache, Refusing).spawn();
        sleep(secs(1)).await;
        exporter.assert([("fleet_connected", 0)]);
    });
}
