//! The outcomes of HTTP responses, the retry times that providers name, and checks that send requests.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header::AUTHORIZATION,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, channel::Channel};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_health::{
    Backoff, BoxError, Cause, Check, FallbackChain, HealthCache, HealthLayer, HealthProbe, Outcome,
    Override, Policy, Provider, ProviderHealth, Reason, ServedBy, State, Trip,
    error::{CircuitOpen, find},
    http::{HttpCheck, StatusClassifier, retry_after, retry_hint},
};
use tower_test::mock;

use crate::cache_without_jitter;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The table's two columns for one status.
type Row = (Health, Advance);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Success,
    Neutral,
    Throttled,
    Failure,
    Fatal,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Advance {
    Yes,
    No,
}

/// The chain's layers and its advance rule share one table.
#[tokio::test(start_paused = true)]
async fn guarded_provider_is_judged_by_the_table_of_its_chain() {
    let cache = HealthCache::default();
    let (a, b) = (cache.provider("a"), cache.provider("b"));
    let classifier = StatusClassifier::new().failure_on([404]);
    let answers = |status: u16| {
        service_fn(move |_: Request<()>| {
            let mut response = Response::new(Full::from("?"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            ready(Ok::<Response<Full<Bytes>>, BoxError>(response))
        })
    };
    let chain = FallbackChain::new()
        .advance(classifier)
        .guard(a.clone(), BoxCloneSyncService::new(answers(404)))
        .guard(b.clone(), BoxCloneSyncService::new(answers(200)));
    for _ in 0..2 {
        assert!(a.is_healthy());
        let response = chain.clone().oneshot(Request::new(())).await.unwrap();
        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "b");
        response.into_body().collect().await.unwrap();
    }
    assert!(!a.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn last_answer_says_who_gave_it_and_who_did_not() {
    let cache = HealthCache::default();
    let (a, b, c) = (
        cache.provider("a"),
        cache.provider("b"),
        cache.provider("c"),
    );
    let status = service_fn(|request: Request<()>| {
        let mut response = Response::new(Full::<Bytes>::from("no quota"));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        ready(if request.uri() == "/fails" {
            Err(BoxError::from("reset"))
        } else {
            Ok(response)
        })
    });
    let fails = status.map_request(|_| Request::get("/fails").body(()).unwrap());
    a.force(Override::Open, HOUR, "maintenance");
    let chain = FallbackChain::http()
        .guard(a, BoxCloneSyncService::new(status))
        .guard(b, BoxCloneSyncService::new(status))
        .guard(c, BoxCloneSyncService::new(fails))
        .last_answer(true);

    let response = chain.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 429);
    let served_by = response.extensions().get::<ServedBy>().unwrap();
    assert_eq!(&*served_by.provider, "b");
    let others: Vec<_> = served_by.attempts.iter().map(ToString::to_string).collect();
    assert_eq!(others, ["`a`: circuit open", "`c`: reset"]);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "no quota");
}

mod table {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_below_400_is_a_success() {
        let below_400 = 100..=399;
        assert_rows(&StatusClassifier::new(), below_400, SUCCESS).await;
    }

    /// Scenario 44.
    #[tokio::test(start_paused = true)]
    async fn a_4xx_is_neutral() {
        let others = (400..=499).filter(|status| ![408, 429].contains(status));
        assert_rows(&StatusClassifier::new(), others, NEUTRAL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_408_is_a_failure() {
        assert_rows(&StatusClassifier::new(), [408], FAILURE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_throttles() {
        assert_rows(&StatusClassifier::new(), [429], THROTTLED).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_5xx_that_speaks_of_the_request_is_neutral() {
        let of_the_request = [501, 505, 506, 507, 508, 510];
        assert_rows(&StatusClassifier::new(), of_the_request, NEUTRAL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_5xx_that_speaks_of_the_server_is_a_failure() {
        let of_the_server = [500, 502, 503, 504, 509, 511].into_iter().chain(512..=599);
        assert_rows(&StatusClassifier::new(), of_the_server, FAILURE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_of_http_is_a_failure() {
        assert_rows(&StatusClassifier::new(), 600..=999, FAILURE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_is_fatal_where_credentials_are_failures() {
        let classifier = StatusClassifier::new().credentials_as_failures();
        assert_rows(&classifier, [401, 402, 403], FATAL).await;
        assert_rows(&classifier, [400, 404, 407, 422], NEUTRAL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_row_can_be_changed() {
        let classifier = StatusClassifier::new()
            .success_on([404])
            .neutral_on(520..=524)
            .throttled_on([503])
            .failure_on([200, 409])
            .fatal_on([410]);
        assert_rows(&classifier, [404], SUCCESS).await;
        assert_rows(&classifier, 520..=524, NEUTRAL).await;
        assert_rows(&classifier, [503], THROTTLED).await;
        assert_rows(&classifier, [200, 409], FAILURE).await;
        assert_rows(&classifier, [410], FATAL).await;
        assert_rows(&classifier, [201], SUCCESS).await;
        assert_rows(&classifier, [400], NEUTRAL).await;
        assert_rows(&classifier, [519, 525], FAILURE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_two_columns_are_changed_apart() {
        let classifier = StatusClassifier::new()
            .advance_on([401, 404])
            .return_on([500])
            .credentials_as_failures();
        assert_rows(&classifier, [404], (Health::Neutral, Advance::Yes)).await;
        assert_rows(&classifier, [500], (Health::Failure, Advance::No)).await;
        assert_rows(&classifier, [401, 403], FATAL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_settings_of_one_status_the_later_holds() {
        let classifier = StatusClassifier::new()
            .credentials_as_failures()
            .neutral_on([403])
            .advance_on([404])
            .return_on([404]);
        assert_rows(&classifier, [401, 402], FATAL).await;
        assert_rows(&classifier, [403, 404], NEUTRAL).await;
    }

    #[test]
    fn changing_a_clone_leaves_the_original_alone() {
        let original = StatusClassifier::new().neutral_on([500]);
        let changed = original.clone().failure_on([500]);
        let none = HeaderMap::new();
        assert!(!original.advances(StatusCode::INTERNAL_SERVER_ERROR, &none));
        assert!(changed.advances(StatusCode::INTERNAL_SERVER_ERROR, &none));
    }

    #[test]
    fn a_closure_is_asked_before_the_table_in_both_columns() {
        let classifier =
            StatusClassifier::new()
                .return_on([200])
                .outcome_with(|status, headers: &HeaderMap| {
                    let model = headers.get("x-model-status")?;
                    Some(match model.to_str() {
                        Ok("away") => Outcome::failure("model away"),
                        _ if status == StatusCode::BAD_GATEWAY => Outcome::Neutral,
                        _ => return None,
                    })
                });
        let head =
            |model| HeaderMap::from_iter([(HeaderName::from_static("x-model-status"), model)]);
        let (away, there) = (
            head(HeaderValue::from_static("away")),
            head(HeaderValue::from_static("there")),
        );
        let (ok, bad_gateway) = (StatusCode::OK, StatusCode::BAD_GATEWAY);

        assert_eq!(
            classifier.outcome(ok, &away),
            Outcome::failure("model away")
        );
        assert!(classifier.advances(ok, &away));
        assert_eq!(classifier.outcome(bad_gateway, &there), Outcome::Neutral);
        assert!(!classifier.advances(bad_gateway, &there));
        assert_eq!(classifier.outcome(ok, &there), Outcome::Success);
        assert!(classifier.advances(bad_gateway, &HeaderMap::new()));
    }

    #[test]
    #[should_panic(
        expected = "`StatusClassifier::neutral_on`: HTTP status must be between 100 and 999, got 99"
    )]
    fn what_is_no_status_is_refused() {
        let _ = StatusClassifier::new().neutral_on([200, 99]);
    }

    const SUCCESS: Row = (Health::Success, Advance::No);
    const NEUTRAL: Row = (Health::Neutral, Advance::No);
    const THROTTLED: Row = (Health::Throttled, Advance::Yes);
    const FAILURE: Row = (Health::Failure, Advance::Yes);
    const FATAL: Row = (Health::Fatal, Advance::Yes);

    async fn assert_rows(
        classifier: &StatusClassifier,
        statuses: impl IntoIterator<Item = u16>,
        expected: Row,
    ) {
        for status in statuses {
            let row = (
                health(classifier, status).await,
                advance_on(classifier, status),
            );
            assert_eq!(row, expected, "{status}");
        }
    }

    /// The effect of a response on a provider that trips at the third failure and has one already.
    async fn health(classifier: &StatusClassifier, status: u16) -> Health {
        let provider = HealthCache::new(Policy::new().trip(Trip::consecutive(3))).provider("groq");
        provider.mark_unhealthy("a strike");
        let layer = HealthLayer::new(provider.clone()).classify(classifier.clone());

        let returned = call(&layer, status, &[]).await.unwrap();
        assert_eq!(returned.status(), status);

        let health = provider.health();
        match (health.cause, health.consecutive_failures) {
            (None, 0) => Health::Success,
            (None, 1) => Health::Neutral,
            (None, 2) => Health::Failure,
            (Some(Cause::Throttled), 1) => Health::Throttled,
            (Some(Cause::Failures), 2) => Health::Fatal,
            effect => panic!("{status}: {effect:?}"),
        }
    }

    fn advance_on(classifier: &StatusClassifier, status: u16) -> Advance {
        let status = StatusCode::from_u16(status).unwrap();
        if classifier.advances(status, &HeaderMap::new()) {
            Advance::Yes
        } else {
            Advance::No
        }
    }
}

/// Scenario 33.
#[tokio::test(start_paused = true)]
async fn errors_are_failures_with_their_text() {
    let (provider, layer) = guarded("groq");
    let refusing = service_fn(|()| ready(Err::<Response<String>, _>("connection refused")));

    for _ in 0..2 {
        let error = layer.layer(refusing).oneshot(()).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
    }

    let health = provider.health();
    assert_eq!(health.cause, Some(Cause::Failures));
    assert_eq!(health.last_error.unwrap(), "connection refused");
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_failure_is_the_status() {
    let (provider, layer) = guarded("groq");
    call(&layer, 503, &[]).await.unwrap();
    assert_eq!(provider.health().last_error.unwrap(), "503");
}

#[tokio::test(start_paused = true)]
async fn the_response_is_handed_on_unchanged() {
    let (_, layer) = guarded("groq");
    let response = call(&layer, 503, &[("x-request-id", "7")]).await;

    let response = response.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["x-request-id"], "7");
    assert_eq!(*response.body(), "body");
}

/// Scenario 34.
#[tokio::test(start_paused = true)]
async fn one_503_is_a_strike_and_opens_nothing() {
    let (provider, layer) = guarded("groq");
    call(&layer, 503, &[]).await.unwrap();

    let health = provider.health();
    assert_eq!(health.state, State::Closed);
    assert_eq!(health.consecutive_failures, 1);
}

/// Scenario 44.
#[tokio::test(start_paused = true)]
async fn the_callers_own_mistakes_are_returned_and_leave_the_streak_alone() {
    for statuses in [[400, 401], [404, 422]] {
        let (provider, layer) = guarded("groq");
        call(&layer, 503, &[]).await.unwrap();

        for status in statuses {
            let response = call(&layer, status, &[]).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(provider.health().consecutive_failures, 1, "{status}");
        }

        call(&layer, 503, &[]).await.unwrap();
        assert_eq!(provider.health().state, State::Open);
    }
}

/// Scenario 7.
#[tokio::test(start_paused = true)]
async fn a_400_does_not_close_a_half_open_breaker() {
    let (provider, layer) = guarded("groq");
    trip(&provider);
    advance(MINUTE).await;

    call(&layer, 400, &[]).await.unwrap();
    assert_eq!(provider.health().state, State::HalfOpen);

    call(&layer, 200, &[]).await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

/// Scenario 35.
#[tokio::test(start_paused = true)]
async fn a_429_opens_for_the_time_it_names_however_it_is_spelt() {
    let spellings: [&[_]; 6] = [
        &[("retry-after", "7")],
        &[("retry-after-ms", "7000")],
        &[("retry-after-ms", "700"), ("retry-after", "7")],
        &[("retry-after", "7, 1"), ("retry-after", "soon")],
        &[("ratelimit", r#""default";r=0;t=7"#)],
        &[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:49:44 GMT"),
        ],
    ];
    for headers in spellings {
        let (provider, layer) = guarded("groq");

        let response = call(&layer, 429, headers).await.unwrap();
        assert_eq!(response.status(), 429);

        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Throttled), "{headers:?}");
        assert_eq!(health.consecutive_failures, 0, "{headers:?}");
        assert_eq!(health.last_error.unwrap(), "429");

        advance(Duration::from_millis(6_999)).await;
        let error = call(&layer, 200, &[]).await.unwrap_err();
        let refusal = find::<CircuitOpen>(&*error).unwrap();
        assert_eq!(refusal.retry_in(), Duration::from_millis(1), "{headers:?}");

        advance(Duration::from_millis(1)).await;
        call(&layer, 200, &[]).await.unwrap();
        assert_eq!(provider.health().state, State::Closed, "{headers:?}");
    }
}

/// Scenario 35.
#[tokio::test(start_paused = true)]
async fn a_silly_time_is_clamped_to_an_hour() {
    let ten_years: [&[_]; 4] = [
        &[("retry-after", "315360000")],
        &[("retry-after-ms", "315360000000")],
        &[("retry-after", "99999999999999999999999")],
        &[
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sat, 06 Nov 2004 08:49:37 GMT"),
        ],
    ];
    for headers in ten_years {
        let (provider, layer) = guarded("groq");
        call(&layer, 429, headers).await.unwrap();
        assert_eq!(provider.health().retry_in, Some(HOUR), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_that_names_no_time_opens_for_the_default_wait() {
    let nameless: [&[_]; 6] = [
        &[],
        &[("retry-after", "0")],
        &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
        &[("ratelimit", r#""default";r=1;t=7"#)],
        &[("retry-after", "soon")],
        &[("retry-after", "-1"), ("retry-after-ms", "NaN")],
    ];
    for headers in nameless {
        let (provider, layer) = guarded("groq");
        call(&layer, 429, headers).await.unwrap();
        let default_wait = Some(15 * SECOND);
        assert_eq!(provider.health().retry_in, default_wait, "{headers:?}");
    }
}

/// With a growing backoff, a provider that throttles without a retry time gets fewer and fewer calls.
#[tokio::test(start_paused = true)]
async fn a_429_that_names_no_time_can_be_fatal() {
    let backoff = Backoff::exponential(MINUTE, HOUR);
    let provider = HealthCache::new(Policy::new().backoff(backoff)).provider("groq");
    let classifier = StatusClassifier::new().outcome_with(|status, headers| {
        let names_no_time = retry_after(headers).is_none();
        (status == 429 && names_no_time).then(|| Outcome::fatal("429"))
    });
    let layer = HealthLayer::new(provider).classify(classifier);

    let mut admitted = 0;
    for _ in 0..3_600 {
        admitted += u32::from(call(&layer, 429, &[]).await.is_ok());
        advance(SECOND).await;
    }
    assert!(admitted < 20, "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_503_that_trips_keeps_the_breaker_open_for_the_time_it_names() {
    let (provider, layer) = guarded("groq");
    let back_in_two_minutes = &[("retry-after", "120")];

    call(&layer, 503, back_in_two_minutes).await.unwrap();
    assert_eq!(provider.health().state, State::Closed);

    call(&layer, 503, back_in_two_minutes).await.unwrap();
    assert_eq!(provider.health().cause, Some(Cause::Failures));
    assert!(!provider.grant_trial(), "the provider named a time");

    advance(119 * SECOND).await;
    let error = call(&layer, 200, &[]).await.unwrap_err();
    let refusal = find::<CircuitOpen>(&*error).unwrap();
    assert_eq!(refusal.retry_in(), SECOND);

    advance(SECOND).await;
    call(&layer, 200, &[]).await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_time_shorter_than_the_backoff_does_not_shorten_it() {
    let (provider, layer) = guarded("groq");
    for _ in 0..2 {
        let back_soon = &[("retry-after", "5")];
        call(&layer, 503, back_soon).await.unwrap();
    }
    assert_eq!(provider.health().retry_in, Some(MINUTE));
}

/// Some APIs, for example GitHub's, answer 403 when a rate limit is exceeded.
#[tokio::test(start_paused = true)]
async fn a_403_that_names_a_time_throttles() {
    let classifiers = [
        StatusClassifier::new(),
        StatusClassifier::new().credentials_as_failures(),
    ];
    for classifier in classifiers {
        let provider = cache_without_jitter().provider("github");
        provider.mark_unhealthy("a strike");
        let layer = HealthLayer::new(provider.clone()).classify(classifier.clone());
        call(&layer, 403, &[("retry-after", "60")]).await.unwrap();

        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Throttled));
        assert_eq!(health.retry_in, Some(MINUTE));
        assert_eq!(health.consecutive_failures, 1);
        let (head, _) = answer(403, &[("retry-after", "60")]).into_parts();
        assert!(classifier.advances(head.status, &head.headers));
    }
}

#[test]
fn a_403_that_names_a_time_can_be_judged_otherwise() {
    let (head, _) = answer(403, &[("retry-after", "60")]).into_parts();
    let answered = StatusClassifier::new().answered_on([403]);
    assert_eq!(
        answered.outcome(head.status, &head.headers),
        Outcome::Answered
    );
    assert!(!answered.advances(head.status, &head.headers));
    let returned = StatusClassifier::new().return_on([403]);
    assert!(!returned.advances(head.status, &head.headers));
}

/// A retry time of zero leads to no more calls than none.
#[tokio::test(start_paused = true)]
async fn a_pause_of_no_time_is_a_pause_all_the_same() {
    let unnamed = calls_in_a_minute(&[]).await;
    for headers in [
        &[("retry-after", "0")],
        &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
    ] {
        let calls = calls_in_a_minute(headers).await;
        assert!(calls <= 2 * unnamed, "{headers:?}: {calls}, not {unnamed}");
    }
}

/// The calls in a minute of 20 callers, each of which tries ten times a second.
async fn calls_in_a_minute(headers: &'static [(&str, &str)]) -> usize {
    let (_, layer) = guarded("groq");
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let stack = layer.layer(service_fn(move |()| {
        seen.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(answer(429, headers).map(Full::<Bytes>::from))
        }
    }));
    let end = Instant::now() + MINUTE;
    let callers = (0..20).map(|_| {
        let stack = stack.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                drop(stack.clone().oneshot(()).await);
                sleep(Duration::from_millis(100)).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    calls.load(Ordering::Relaxed)
}

/// Headers with a provider-specific unit are read by that provider's function in `retry_hint`.
mod hints {
    use super::*;

    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn openai_names_the_longest_of_the_limits_that_are_used_up() {
        for (headers, expected) in [
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "120ms"),
                    ("x-ratelimit-remaining-tokens", "149984"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ][..],
                Some(Duration::from_millis(120)),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "1.5s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some(6 * MINUTE),
            ),
            (
                &[
                    ("x-ratelimit-remaining-project-tokens", "0"),
                    ("x-ratelimit-reset-project-tokens", "2m59.56s"),
                ],
                Some(Duration::from_millis(179_560)),
            ),
            (&[("x-ratelimit-reset-requests", "6m0s")], None),
            (
                &[
                    ("x-ratelimit-remaining-requests", "-1"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                ],
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "0s"),
                ],
                None,
            ),
            // GitHub.
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "784111837"),
                ],
                None,
            ),
        ] {
            assert_eq!(
                retry_hint::openai(&fields(headers)),
                expected,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn github_names_a_time_since_1970_began() {
        let reset = |remaining, reset| {
            retry_hint::github(&fields(&[
                DATE,
                ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset),
            ]))
        };
        assert_eq!(reset("0", "784111837"), Some(MINUTE));
        assert_eq!(reset("1", "784111837"), None);
        for no_wait in ["784111777", "60", "-1", "6m0s", "99999999999999999999999"] {
            assert_eq!(reset("0", no_wait), None, "{no_wait}");
        }
        let furthest = Duration::from_secs(u64::MAX - 784_111_777);
        assert_eq!(reset("0", "18446744073709551615"), Some(furthest));
    }

    #[test]
    fn anthropic_names_a_time_of_rfc_3339() {
        for limit in ["requests", "tokens", "input-tokens", "output-tokens"] {
            let wait = |remaining, reset| {
                let name = |field| format!("anthropic-ratelimit-{limit}-{field}");
                retry_hint::anthropic(&fields(&[
                    DATE,
                    (&name("remaining"), remaining),
                    (&name("reset"), reset),
                    ("anthropic-ratelimit-other-remaining", "7"),
                    ("anthropic-ratelimit-other-reset", "1994-11-06T09:49:37Z"),
                ]))
            };
            assert_eq!(wait("0", "1994-11-06T08:50:37Z"), Some(MINUTE), "{limit}");
            assert_eq!(wait("0", "1994-11-06T09:50:37+01:00"), Some(MINUTE));
            assert_eq!(wait("5", "1994-11-06T08:50:37Z"), None);
            for no_wait in ["1994-11-06T08:49:37Z", "60", "soon", ""] {
                assert_eq!(wait("0", no_wait), None, "{limit}: {no_wait}");
            }
        }
    }

    #[test]
    fn durations_are_read_with_their_units_alone() {
        for (text, nanos) in [
            ("6m0s", 360_000_000_000),
            ("1.5s", 1_500_000_000),
            ("120ms", 120_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("34.074824224s", 34_074_824_224),
            (" .5s ", 500_000_000),
        ] {
            let expected = Some(Duration::from_nanos(nanos));
            assert_eq!(retry_hint::duration(text), expected, "{text}");
        }
        for text in [
            "", "0s", "0", "60", "s", "-1s", "1 s", "1d", "1.2.3s", "1s5", "6M", "1e3s", "infs",
        ] {
            assert_eq!(retry_hint::duration(text), None, "{text:?}");
        }
        let digits = format!("{}h", "9".repeat(400));
        assert_eq!(retry_hint::duration(&digits), Some(Duration::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn are_heeded_beside_the_default_and_the_longest_counts() {
        let headers = [
            DATE,
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "784111837"),
            ("retry-after", "90"),
        ];
        let (openai, github) = (retry_hint::openai, retry_hint::github);
        for (classifier, seconds) in [
            (StatusClassifier::new(), 90),
            (StatusClassifier::new().retry_hint(openai), 360),
            (StatusClassifier::new().retry_hint(github), 90),
            (
                StatusClassifier::new()
                    .retry_hint(openai)
                    .retry_hint(github),
                360,
            ),
            (
                StatusClassifier::new().retry_hint(|_| Some(Duration::ZERO)),
                90,
            ),
        ] {
            let provider = cache_without_jitter().provider("groq");
            let layer = HealthLayer::new(provider.clone()).classify(classifier);
            call(&layer, 429, &headers).await.unwrap();
            assert_eq!(provider.health().retry_in, Some(seconds * SECOND));
        }
    }

    #[test]
    fn make_a_403_a_throttle() {
        let head = fields(&[
            DATE,
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "784111837"),
        ]);
        let outcome =
            |classifier: StatusClassifier| classifier.outcome(StatusCode::FORBIDDEN, &head);
        assert_eq!(outcome(StatusClassifier::new()), Outcome::Answered);
        assert_eq!(
            outcome(StatusClassifier::new().retry_hint(retry_hint::github)),
            Outcome::throttled(Some(MINUTE), "403")
        );
    }

    #[test]
    fn say_nothing_of_a_hint_that_names_no_time() {
        let classifier = StatusClassifier::new().retry_hint(|_| Some(Duration::ZERO));
        assert_eq!(
            classifier.outcome(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new()),
            Outcome::throttled(None, "429")
        );
    }

    fn fields(headers: &[(&str, &str)]) -> HeaderMap {
        answer(429, headers).headers().clone()
    }
}

/// A success that uses up a quota is served, and the next call goes to another provider.
#[tokio::test(start_paused = true)]
async fn a_success_that_uses_a_quota_up_is_served_and_the_next_call_goes_elsewhere() {
    let cache = cache_without_jitter();
    let classifier = StatusClassifier::new().outcome_with(|status, headers| {
        let is_last = status.is_success() && headers.get("x-ratelimit-remaining-requests")? == "0";
        is_last.then(|| Outcome::throttled(Some(6 * SECOND), "quota used up"))
    });
    let entry = |chain: FallbackChain<_, _, _>, id, headers: &'static [_]| {
        let layer = HealthLayer::new(cache.provider(id)).classify(classifier.clone());
        let stack = layer.layer(service_fn(move |()| {
            ready(Ok::<_, BoxError>(
                answer(200, headers).map(Full::<Bytes>::from),
            ))
        }));
        chain.entry(cache.provider(id), stack)
    };
    let chain = entry(
        FallbackChain::http(),
        "a",
        &[("x-ratelimit-remaining-requests", "0")],
    );
    let chain = entry(chain, "b", &[]);

    for expected in ["a", "b"] {
        let response = chain.clone().oneshot(()).await.unwrap();
        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, expected);
        response.into_body().collect().await.unwrap();
    }
    advance(6 * SECOND).await;
    assert!(cache.is_healthy("a"));
}

#[test]
fn a_response_of_another_type_is_judged_by_its_parts() {
    let (parts, _) = answer(503, &[("retry-after", "7")]).into_parts();

    let outcome = StatusClassifier::new().outcome(parts.status, &parts.headers);

    let expected = Outcome::Failure {
        reason: "503".into(),
        retry_after: retry_after(&parts.headers),
    };
    assert_eq!(outcome, expected);
}

mod check {
    use super::*;

    #[tokio::test]
    async fn whatever_is_below_500_passes() {
        for status in 100..=999 {
            let result = HttpCheck::get(server(status), uri()).run().await;
            let expected = if status < 500 {
                Ok(())
            } else {
                Err(Reason::from(status.to_string()))
            };
            assert_eq!(result, expected);
        }
    }

    #[tokio::test]
    async fn what_is_expected_passes_and_nothing_else() {
        for (status, passes) in [(200, true), (299, true), (503, true), (404, false)] {
            let expected = (200..=299).chain([503]);
            let check = HttpCheck::get(server(status), uri()).expect(expected);
            assert_eq!(check.run().await.is_ok(), passes, "{status}");
        }
    }

    #[tokio::test]
    async fn an_error_is_the_reason() {
        let refusing =
            service_fn(|_: Request<String>| ready(Err::<Response<()>, _>("connection refused")));
        let reason = HttpCheck::get(refusing, uri()).run().await.unwrap_err();
        assert_eq!(reason, "connection refused");
    }

    #[tokio::test]
    async fn sends_a_get_with_its_headers() {
        let key = HeaderValue::from_static("Bearer secret");
        let (service, mut handle) = mock::pair::<Request<String>, Response<()>>();
        let check = HttpCheck::get(service, uri()).header(AUTHORIZATION, key.clone());

        let mut run = task::spawn(check.run());
        assert_pending!(run.poll());
        let (request, answer) = handle.next_request().await.unwrap();
        answer.send_response(Response::default());

        assert_eq!(request.method(), "GET");
        assert_eq!(*request.uri(), uri());
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()[AUTHORIZATION], key);
        assert_eq!(request.body(), "");
        assert_ready_eq!(run.poll(), Ok(()));
    }

    #[tokio::test]
    async fn makes_its_request_anew_each_time() {
        let echo = service_fn(|request: Request<&str>| {
            assert_eq!(request.method(), "POST");
            assert_eq!(*request.body(), "ping");
            assert_eq!(request.headers()["x-tenant"], "probe");
            ready(Ok::<_, BoxError>(Response::new(())))
        });
        let check = HttpCheck::new(echo, || {
            Request::post(uri())
                .header("x-tenant", "nobody")
                .body("ping")
                .unwrap()
        })
        .header("x-tenant".parse().unwrap(), "probe".parse().unwrap());

        assert_eq!(check.run().await, Ok(()));
        assert_eq!(check.run().await, Ok(()));
    }

    #[tokio::test]
    async fn calls_nothing_that_is_not_ready() {
        let (service, mut handle) = mock::pair::<Request<()>, Response<()>>();
        let check = HttpCheck::get(service, uri());
        handle.allow(0);

        let mut run = task::spawn(check.run());
        assert_pending!(run.poll());
        assert_pending!(task::spawn(handle.next_request()).poll());

        handle.allow(1);
        assert!(run.is_woken());
        assert_pending!(run.poll());
        let (_, answer) = handle.next_request().await.unwrap();
        answer.send_response(Response::default());
        assert_ready_eq!(run.poll(), Ok(()));
    }

    #[tokio::test]
    async fn an_error_of_readiness_is_the_reason() {
        let (service, mut handle) = mock::pair::<Request<()>, Response<()>>();
        handle.send_error("worker is gone");
        let reason = HttpCheck::get(service, uri()).run().await.unwrap_err();
        assert_eq!(reason, "worker is gone");
    }

    #[test]
    fn debug_keeps_keys_secret() {
        let key = HeaderValue::from_static("Bearer secret");
        let check = HttpCheck::<_, String>::get(server(200), uri()).header(AUTHORIZATION, key);
        let shown = format!("{check:?}");
        assert!(shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    #[should_panic(
        expected = "`HttpCheck::expect`: HTTP status must be between 100 and 999, got 1000"
    )]
    fn what_is_no_status_is_refused() {
        let _ = HttpCheck::<_, String>::get(server(200), uri()).expect(990..=1000);
    }

    /// Runs can be spawned: they do not borrow the check.
    #[tokio::test]
    async fn a_run_outlives_the_check() {
        let check = HttpCheck::get(server(204), uri()).expect([204]);
        let run = check.run();
        drop(check);
        assert_eq!(tokio::spawn(run).await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_functional_check_that_is_turned_away_does_not_close() {
        let mut closed_by = Vec::new();
        for status in [200, 400, 401, 402, 403, 404, 408, 413, 429, 501, 503] {
            let check = Check::from(HttpCheck::get(server(status), uri()));
            if after(check.functional()).await.state == State::Closed {
                closed_by.push(status);
            }
        }
        assert_eq!(closed_by, [200]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_functional_check_is_judged_by_the_classifier_unless_statuses_are_expected() {
        let get = |status| HttpCheck::get(server(status), uri());
        let lenient = StatusClassifier::new().success_on([404]);
        for (check, closes) in [
            (get(404).classify(lenient.clone()), true),
            (get(404).expect([404]), true),
            (get(404).classify(lenient).expect([200]), false),
        ] {
            let health = after(Check::from(check).functional()).await;
            assert_eq!(health.state == State::Closed, closes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_functional_check_heeds_the_time_that_a_429_names() {
        let hour = [("retry-after", "3600")];
        let service = service_fn(move |_: Request<String>| {
            ready(Ok::<_, Infallible>(
                answer(429, &hour).map(Full::<Bytes>::from),
            ))
        });
        let check = Check::from(HttpCheck::get(service, uri())).functional();
        let health = after(check).await;
        assert!(health.not_before.unwrap() >= 60 * MINUTE);
    }

    /// A refusal by an inner layer does not count against the provider.
    #[tokio::test(start_paused = true)]
    async fn a_functional_check_that_is_refused_on_this_side_counts_for_nothing() {
        let service = service_fn(|_: Request<String>| {
            let error: BoxError = tower::load_shed::error::Overloaded::new().into();
            ready(Err::<Response<String>, _>(error))
        });
        for (depth, counts) in [
            ((|check| check) as fn(Check) -> Check, true),
            (Check::functional, false),
        ] {
            let check = depth(HttpCheck::get(service, uri()).into());
            let cache = HealthCache::new(Policy::new().trip(Trip::consecutive(1)));
            HealthProbe::new(&cache)
                .check_with("a", check)
                .round()
                .await;
            assert_eq!(!cache.is_healthy("a"), counts);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_holds_up_a_functional_check_only() {
        for (depth, passes) in [
            ((|check| check) as fn(Check) -> Check, true),
            (Check::functional, false),
        ] {
            let service = service_fn(|_: Request<String>| {
                let (sender, body) = Channel::<Bytes>::new(1);
                // The body stays open forever.
                std::mem::forget(sender);
                ready(Ok::<_, Infallible>(Response::new(body)))
            });
            let check = depth(HttpCheck::get(service, uri()).into());
            let cache = HealthCache::new(Policy::new().trip(Trip::consecutive(1)));
            let start = Instant::now();
            HealthProbe::new(&cache)
                .check_with("a", check)
                .round()
                .await;
            assert_eq!(cache.is_healthy("a"), passes);
            assert!(start.elapsed() < Duration::from_secs(4));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_functional_check_whose_body_breaks_off_has_failed() {
        let service = service_fn(|_: Request<String>| {
            let (sender, body) = Channel::<Bytes, &str>::new(1);
            sender.abort("broken off");
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let check = Check::from(HttpCheck::get(service, uri())).functional();
        assert_eq!(after(check).await.last_error.unwrap(), "broken off");
    }

    /// Proxies end a truncated body as if it were complete.
    #[tokio::test(start_paused = true)]
    async fn a_functional_check_whose_body_is_shorter_than_announced_has_failed() {
        let service = service_fn(|_: Request<String>| {
            let body = Announced(20, Full::from("half of it"));
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let check = Check::from(HttpCheck::get(service, uri())).functional();
        assert_eq!(after(check).await.last_error.unwrap(), "incomplete");
    }

    #[tokio::test]
    async fn its_connection_is_used_again_unless_the_body_is_long() {
        for (length, most) in [(2, 1), (200_000, 1), (300_000, 10)] {
            let made = connections_of_ten_checks(length).await;
            if most == 1 {
                assert!(made <= 2, "{made} connections for 10 checks");
            } else {
                assert_eq!(made, most);
            }
        }
    }

    /// A body that announces this length.
    struct Announced(u64, Full<Bytes>);

    impl Body for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.1).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    /// The number of connections that ten checks open to a server whose bodies have this length.
    async fn connections_of_ten_checks(length: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                    let answer = head + &"x".repeat(length);
                    let mut buffer = [0; 4096];
                    while let Ok(1..) = socket.read(&mut buffer).await {
                        let _ = socket.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        let http: Client<HttpConnector, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{address}/v1/models").parse().unwrap();
        let cache = HealthCache::default();
        let probe = HealthProbe::new(&cache).check_with("a", HttpCheck::get(http, uri));
        for _ in 0..10 {
            probe.round().await;
            sleep(Duration::from_millis(20)).await;
        }
        assert!(cache.is_healthy("a"));
        connections.load(Ordering::Relaxed)
    }

    /// The health of a provider that two calls have opened, after this check.
    async fn after(check: Check) -> ProviderHealth {
        let cache = HealthCache::default();
        let provider = cache.provider("a");
        trip(&provider);
        HealthProbe::new(&cache)
            .check_with("a", check)
            .round()
            .await;
        provider.health()
    }

    fn uri() -> Uri {
        Uri::from_static("https://api.example.com/v1/models")
    }

    fn server(
        status: u16,
    ) -> impl tower::Service<
        Request<String>,
        Response = Response<String>,
        Error = &'static str,
        Future: Send,
    > + Clone
    + Send {
        service_fn(move |_| ready(Ok(answer(status, &[]).map(str::to_owned))))
    }
}

/// A provider without jitter, and the layer that guards it.
fn guarded(id: &str) -> (Provider, HealthLayer<StatusClassifier>) {
    let provider = cache_without_jitter().provider(id);
    let layer = HealthLayer::http(provider.clone());
    (provider, layer)
}

fn trip(provider: &Provider) {
    provider.mark_unhealthy("connection refused");
    provider.mark_unhealthy("connection refused");
}

/// Makes a call through `layer` to a server with this response, and reads the body to its end.
async fn call(
    layer: &HealthLayer<StatusClassifier>,
    status: u16,
    headers: &[(&str, &str)],
) -> Result<Response<Bytes>, BoxError> {
    let response = answer(status, headers).map(Full::<Bytes>::from);
    let server = service_fn(move |()| ready(Ok::<_, BoxError>(response.clone())));
    let (parts, body) = layer.layer(server).oneshot(()).await?.into_parts();
    Ok(Response::from_parts(
        parts,
        body.collect().await?.to_bytes(),
    ))
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Response<&'static str> {
    let empty = Response::builder().status(status);
    let response = headers.iter().fold(empty, |response, (name, value)| {
        response.header(*name, *value)
    });
    response.body("body").unwrap()
}
