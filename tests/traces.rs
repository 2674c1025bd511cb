//! Feature `tracing`: the spans of attempts, as OpenTelemetry exports them.

use std::{
    future::ready,
    io::{self, ErrorKind},
};

use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio_test::block_on;
use tower::{Service, service_fn};
use tower_health::{BoxError, FallbackChain, HealthCache, Override};
use tracing::{info_span, subscriber::with_default};
use tracing_subscriber::layer::SubscriberExt;

/// Returns the spans of the code, in the order in which they ended.
fn spans(code: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("test"));
    with_default(tracing_subscriber::registry().with(layer), code);
    exporter.get_finished_spans().unwrap()
}

/// Returns a chain of providers with these ids. A call ends with the error of its kind, or with a success.
fn chain<const N: usize>(
    cache: &HealthCache,
    providers: [(&'static str, Option<ErrorKind>); N],
) -> impl Service<(), Response = (), Error = BoxError> {
    let guard = |chain: FallbackChain<_, _, _>, (id, error): (&str, Option<ErrorKind>)| {
        let result = move |()| {
            info_span!("call").in_scope(|| ());
            ready(error.map_or(Ok(()), |kind| Err(io::Error::from(kind))))
        };
        chain.guard(cache.provider(id), service_fn(result))
    };
    providers.into_iter().fold(FallbackChain::new(), guard)
}

fn attributes(span: &SpanData) -> Vec<String> {
    let ours = [
        "provider",
        "attempt",
        "error.type",
        "http.request.resend_count",
    ];
    let all = span.attributes.iter();
    let mut shown: Vec<_> = all
        .filter(|it| ours.contains(&it.key.as_str()))
        .map(|it| format!("{}={}", it.key, it.value))
        .collect();
    shown.sort_unstable();
    shown
}

#[test]
fn each_attempt_is_a_span_in_the_callers_with_its_number_and_error() {
    let cache = HealthCache::default();
    let down = cache.provider("a");
    down.force(
        Override::Open,
        std::time::Duration::from_secs(60),
        "maintenance",
    );
    let mut chain = chain(
        &cache,
        [
            ("a", None),
            ("b", Some(ErrorKind::ConnectionRefused)),
            ("c", Some(ErrorKind::TimedOut)),
            ("d", None),
        ],
    );
    let spans = spans(|| {
        let _request = info_span!("request").entered();
        block_on(chain.call(())).unwrap();
    });

    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    let pair = ["call", "attempt"];
    assert_eq!(names, [&pair[..], &pair, &pair, &["request"]].concat());
    let request = spans.last().unwrap().span_context.span_id();
    for attempt in spans.chunks_exact(2) {
        assert_eq!(attempt[0].parent_span_id, attempt[1].span_context.span_id());
        assert_eq!(attempt[1].parent_span_id, request);
    }
    let attempts: Vec<_> = spans.iter().filter(|it| it.name == "attempt").collect();
    let shown: Vec<_> = attempts.iter().map(|span| attributes(span)).collect();
    let expected: [&[&str]; 3] = [
        &["attempt=1", "error.type=connect", "provider=b"],
        &[
            "attempt=2",
            "error.type=timeout",
            "http.request.resend_count=1",
            "provider=c",
        ],
        &["attempt=3", "http.request.resend_count=2", "provider=d"],
    ];
    assert_eq!(shown, expected);
    let is_error = |span: &&SpanData| matches!(span.status, Status::Error { .. });
    assert_eq!(
        attempts.iter().map(is_error).collect::<Vec<_>>(),
        [true, true, false]
    );
}

#[test]
fn error_that_is_returned_to_the_caller_is_the_error_of_its_span() {
    let cache = HealthCache::default();
    let client = service_fn(|()| ready(Err::<(), _>(io::Error::from(ErrorKind::TimedOut))));
    let chain = FallbackChain::new().guard(cache.provider("a"), client);
    let mut chain = chain.advance_when(|_| false);
    let spans = spans(|| drop(block_on(chain.call(())).unwrap_err()));
    assert_eq!(
        attributes(&spans[0]),
        ["attempt=1", "error.type=timeout", "provider=a"]
    );
}
