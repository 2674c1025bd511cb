//! The beginning of an error's body is read for details that the status lacks, and passed on unchanged.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    Cause, FallbackChain, HealthCache, HealthLayer, Outcome, Provider, ProviderHealth, ServedBy,
    State,
    http::{
        ErrorResponse, ErrorVerdict, HealthBody, PeekBody, ReadErrorsLayer, StatusClassifier,
        retry_hint,
    },
};

use crate::cache_without_jitter;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Error bodies of language model APIs, and their effect on a provider with one strike.
mod verdicts {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bill_that_is_unpaid_opens_at_once_whatever_the_status() {
        for status in [400, 429, 403, 503] {
            let health = after(status, &[], r#"{"code":"insufficient_quota"}"#).await;
            assert_eq!(health.cause, Some(Cause::Failures), "{status}");
            assert_eq!(health.last_error.unwrap(), "insufficient_quota");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_names_no_outcome_is_judged_by_its_status() {
        let unknown = "{}";
        assert_eq!(after(400, &[], unknown).await.consecutive_failures, 1);
        let throttled = after(429, &[("retry-after", "7")], unknown).await;
        assert_eq!(throttled.retry_in, Some(7 * SECOND));
        let failed = after(503, &[], unknown).await;
        assert_eq!(failed.last_error.unwrap(), "503");
        assert_eq!(failed.state, State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_the_body_counts_as_one_in_the_headers_does() {
        let body = r#"{"retryDelay": "34.5s"}"#;
        let delay = Some(Duration::from_millis(34_500));
        for (status, headers, wait) in [
            (429, &[][..], delay),
            (429, &[("retry-after", "7")], delay),
            (429, &[("retry-after", "60")], Some(MINUTE)),
            (403, &[], delay),
        ] {
            let health = after(status, headers, body).await;
            assert_eq!(health.cause, Some(Cause::Throttled), "{status}");
            assert_eq!(health.consecutive_failures, 1);
            assert_eq!(health.retry_in, wait, "{status} {headers:?}");
        }
        let backoff = after(503, &[], body).await;
        assert_eq!(backoff.retry_in, Some(MINUTE));
        let named = after(503, &[], r#"{"retryDelay": "90s"}"#).await;
        assert_eq!(named.retry_in, Some(90 * SECOND));
        assert_eq!(after(400, &[], body).await.state, State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn outcome_of_the_body_waits_for_the_longest_time_too() {
        let layer = ReadErrorsLayer::new(|_| {
            let busy = Outcome::throttled(Some(30 * SECOND), "busy");
            ErrorVerdict::new().outcome(busy).retry_after(20 * SECOND)
        });
        for (headers, seconds) in [(&[][..], 30), (&[("retry-after", "40")], 40)] {
            let provider = struck();
            call(&provider, &layer, answer(500, headers, "busy")).await;
            assert_eq!(provider.health().retry_in, Some(seconds * SECOND));
            assert_eq!(provider.health().cause, Some(Cause::Throttled));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wait_of_no_time_is_none() {
        let layer = ReadErrorsLayer::new(|_| ErrorVerdict::new().retry_after(Duration::ZERO));
        let provider = struck();
        call(&provider, &layer, answer(403, &[], "no")).await;
        assert_eq!(provider.health().state, State::Closed);
    }

    /// A verdict can make an error a success, which is recorded at the end of its body.
    #[tokio::test(start_paused = true)]
    async fn error_that_is_none_is_a_success_at_the_end_of_its_body() {
        let layer = ReadErrorsLayer::new(|_| ErrorVerdict::new().outcome(Outcome::Success));
        let provider = struck();
        let response = call(&provider, &layer, answer(404, &[], "no hits")).await;
        assert_eq!(provider.health().consecutive_failures, 1);
        assert_eq!(text(response).await, "no hits");
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn body_is_asked_before_the_closure_that_sees_the_head() {
        let classifier = StatusClassifier::new().outcome_with(|_, _| Some(Outcome::Neutral));
        let stack = |provider: &Provider, body: &'static str| {
            HealthLayer::new(provider.clone())
                .classify(classifier.clone())
                .layer(judging().layer(service_fn(move |()| {
                    ready(Ok::<_, Infallible>(answer(429, &[], body)))
                })))
        };
        for (body, state) in [
            ("insufficient_quota", State::Open),
            ("nothing", State::Closed),
        ] {
            let provider = struck();
            stack(&provider, body).oneshot(()).await.unwrap();
            assert_eq!(provider.health().state, state, "{body}");
        }
    }

    async fn after(
        status: u16,
        headers: &'static [(&str, &str)],
        body: &'static str,
    ) -> ProviderHealth {
        let provider = struck();
        let response = call(&provider, &judging(), answer(status, headers, body)).await;
        assert_eq!(response.status(), status);
        assert_eq!(text(response).await, body);
        provider.health()
    }
}

mod chains {
    use super::*;

    /// A prompt that is too long for one model goes to the next, without a strike.
    #[tokio::test(start_paused = true)]
    async fn answered_can_go_on() {
        let cache = HealthCache::default();
        let (small, large) = (cache.provider("small"), cache.provider("large"));
        let model = |provider: &Provider, limit: usize| {
            let model = move |prompt: String| {
                ready(Ok::<_, Infallible>(if prompt == "bad" {
                    answer(400, &[], r#"{"code":"bad"}"#)
                } else if prompt.len() > limit {
                    answer(400, &[], r#"{"code":"context_length_exceeded"}"#)
                } else {
                    answer(200, &[], "ok")
                }))
            };
            HealthLayer::http(provider.clone()).layer(judging().layer(service_fn(model)))
        };
        let chain = FallbackChain::http()
            .entry(small.clone(), model(&small, 5))
            .entry(large.clone(), model(&large, 100));

        for (prompt, by, status, body) in [
            ("a long prompt", "large", 200, "ok"),
            ("hi", "small", 200, "ok"),
            ("bad", "small", 400, r#"{"code":"bad"}"#),
        ] {
            for _ in 0..5 {
                let response = chain.clone().oneshot(prompt.to_owned()).await.unwrap();
                let served_by = response.extensions().get::<ServedBy>().unwrap();
                assert_eq!(&*served_by.provider, by, "{prompt}");
                assert_eq!(response.status(), status);
                assert_eq!(
                    response.into_body().collect().await.unwrap().to_bytes(),
                    body
                );
            }
        }
        assert_eq!(small.health().state, State::Closed);
        assert_eq!(small.health().consecutive_failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn go_on_by_the_body_then_by_its_outcome_then_by_the_status() {
        let failure = || ErrorVerdict::new().outcome(Outcome::failure("broken"));
        for (status, verdict, goes_on) in [
            (400, ErrorVerdict::new(), false),
            (503, ErrorVerdict::new(), true),
            (400, failure(), true),
            (400, failure().advance(false), false),
            (503, ErrorVerdict::new().outcome(Outcome::Neutral), false),
            (503, ErrorVerdict::new().advance(false), false),
            (403, ErrorVerdict::new(), false),
            (403, ErrorVerdict::new().retry_after(SECOND), true),
            (404, ErrorVerdict::new(), true),
        ] {
            let cache = HealthCache::default();
            let layer = ReadErrorsLayer::new({
                let verdict = verdict.clone();
                move |_| verdict.clone()
            });
            let entry = |id, status| {
                let server =
                    service_fn(move |()| ready(Ok::<_, Infallible>(answer(status, &[], "body"))));
                HealthLayer::http(cache.provider(id)).layer(layer.layer(server))
            };
            let classifier = StatusClassifier::new().advance_on([404]);
            let chain = FallbackChain::new()
                .advance(classifier)
                .entry(cache.provider("a"), entry("a", status))
                .entry(cache.provider("b"), entry("b", 200));
            let response = chain.oneshot(()).await.unwrap();
            let served_by = response.extensions().get::<ServedBy>().unwrap();
            let by = if goes_on { "b" } else { "a" };
            assert_eq!(&*served_by.provider, by, "{status}, {verdict:?}");
        }
    }
}

mod reading {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn success_passes_at_once_unread() {
        for status in [200, 204, 302] {
            let (seen, layer) = counting();
            let body = Script::new([wait(MINUTE), data("hello")]);
            let (response, took) = timed(send(&layer, response(status, body))).await;
            assert_eq!((took, seen()), (Duration::ZERO, 0));
            assert_eq!(frames(response).await, [data("hello")]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn error_is_read_to_its_end_frame_by_frame() {
        let (seen, layer) = counting();
        let script = [data("insuf"), wait(SECOND / 2), data("ficient"), trailers()];
        let (response, took) = timed(send(&layer, response(429, Script::new(script)))).await;
        assert_eq!((took, seen()), (SECOND / 2, 1));
        assert_eq!(
            frames(response).await,
            [data("insuf"), data("ficient"), trailers()]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn error_that_takes_its_time_is_judged_by_what_has_come() {
        let script = || Script::new([data("insufficient_quota"), wait(MINUTE), data("!")]);
        for (layer, limit) in [
            (judging(), SECOND),
            (judging().within(SECOND / 4), SECOND / 4),
        ] {
            let provider = struck();
            let (response, took) = timed(call(&provider, &layer, response(429, script()))).await;
            assert_eq!(took, limit);
            assert_eq!(provider.health().cause, Some(Cause::Failures));
            assert_eq!(text(response).await, "insufficient_quota!");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn error_of_which_nothing_comes_is_judged_by_its_status() {
        let (seen, layer) = counting();
        let silent = response(503, Script::new([wait(MINUTE), data("late")]));
        let (response, took) = timed(send(&layer, silent)).await;
        assert_eq!((took, seen()), (SECOND, 0));
        assert_eq!(frames(response).await, [data("late")]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_than_16_kib() {
        let limit = 16 * 1024;
        let layer = ReadErrorsLayer::new(move |error: &ErrorResponse<'_>| {
            assert_eq!(error.body.len(), limit);
            ErrorVerdict::new().outcome(Outcome::fatal("read"))
        });
        let page: &'static str = "x".repeat(10_000).leak();
        let endless = (0..100).flat_map(|_| [data(page), wait(SECOND / 10)]);
        let provider = struck();
        let (response, took) =
            timed(call(&provider, &layer, response(500, Script::new(endless)))).await;
        assert_eq!(took, SECOND / 10, "the second frame reaches the limit");
        assert_eq!(provider.health().last_error.unwrap(), "read");
        assert_eq!(text(response).await.len(), 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_data_are_not_read_for_ever() {
        let (seen, layer) = counting();
        let layer = layer.up_to(10);
        let body = Script::new((0..20).map(|_| data("")).chain([data("end")]));
        let response = send(&layer, response(500, body)).await;
        assert_eq!(seen(), 0);
        assert_eq!(frames(response).await.len(), 21);
    }

    #[tokio::test(start_paused = true)]
    async fn character_that_the_limit_cuts_is_left_out() {
        let layer = ReadErrorsLayer::new(|error| {
            assert_eq!(error.body, "caf");
            ErrorVerdict::new().outcome(Outcome::fatal("read"))
        });
        let provider = struck();
        let cut = call(&provider, &layer.up_to(4), answer(500, &[], "café")).await;
        assert_eq!(provider.health().last_error.unwrap(), "read");
        assert_eq!(text(cut).await, "café");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_text_or_compressed_or_empty_is_not_looked_into() {
        let (seen, layer) = counting();
        let no_text = response(500, Full::from(&b"insufficient\xff_quota"[..]));
        let gzipped = answer(500, &[("content-encoding", "gzip")], "insufficient_quota");
        let empty = answer(500, &[], "");
        for answer in [no_text, gzipped, empty] {
            let expected = answer.clone().into_body().collect().await.unwrap();
            let response = send(&layer, answer).await;
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), expected.to_bytes());
        }
        assert_eq!(seen(), 0);

        let identity = answer(500, &[("content-encoding", "identity")], "text");
        send(&layer, identity).await;
        assert_eq!(seen(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_breaks_is_judged_by_what_had_come_and_breaks_for_its_reader() {
        let (seen, layer) = counting();
        let script = Script::new([data("half"), wait(SECOND / 2), reset()]);
        let response = send(&layer, response(500, script)).await;
        assert_eq!(seen(), 1);
        let mut body = response.into_body();
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().lower(), 4);
        assert_eq!(body.size_hint().upper(), None);
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "half");
        body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn closure_sees_status_and_headers() {
        let layer = ReadErrorsLayer::new(|error| {
            assert_eq!(error.status, StatusCode::IM_A_TEAPOT);
            assert_eq!(error.headers["x-request-id"], "7");
            assert_eq!(error.body, "short and stout");
            ErrorVerdict::new()
        });
        let teapot = answer(418, &[("x-request-id", "7")], "short and stout");
        send(&layer, teapot).await;
    }

    #[tokio::test(start_paused = true)]
    async fn error_of_the_call_is_returned() {
        let (_, layer) = counting();
        let failing = service_fn(|()| ready(Err::<Response<Full<Bytes>>, _>("connection refused")));
        let error = layer.layer(failing).oneshot(()).await.unwrap_err();
        assert_eq!(error, "connection refused");
    }

    #[test]
    #[should_panic(expected = "`ReadErrorsLayer::up_to` must be at least 1, got 0")]
    fn nothing_to_read_is_refused() {
        let _ = judging().up_to(0);
    }

    #[test]
    #[should_panic(expected = "`ReadErrorsLayer::within`")]
    fn no_time_to_read_is_refused() {
        let _ = judging().within(Duration::ZERO);
    }
}

/// A layer that judges a language model's API as an application would.
fn judging() -> ReadErrorsLayer<impl Fn(&ErrorResponse<'_>) -> ErrorVerdict + Clone> {
    ReadErrorsLayer::new(|error| {
        let says = |code| error.body.contains(code);
        if says("insufficient_quota") {
            return ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"));
        }
        if says("context_length_exceeded") {
            return ErrorVerdict::new().outcome(Outcome::Answered).advance(true);
        }
        let delay = error.body.split_once(r#""retryDelay": ""#);
        let wait = delay.and_then(|(_, delay)| retry_hint::duration(delay.split('"').next()?));
        wait.map_or_else(ErrorVerdict::new, |wait| {
            ErrorVerdict::new().retry_after(wait)
        })
    })
}

/// A layer without verdicts, and the number of its calls.
fn counting() -> (
    impl Fn() -> usize,
    ReadErrorsLayer<impl Fn(&ErrorResponse<'_>) -> ErrorVerdict + Clone>,
) {
    let asked = Arc::new(AtomicUsize::new(0));
    let layer = ReadErrorsLayer::new({
        let asked = Arc::clone(&asked);
        move |_: &ErrorResponse<'_>| {
            asked.fetch_add(1, Ordering::Relaxed);
            ErrorVerdict::new()
        }
    });
    (move || asked.load(Ordering::Relaxed), layer)
}

/// A provider with one strike.
fn struck() -> Provider {
    let provider = cache_without_jitter().provider("openai");
    provider.mark_unhealthy("a strike");
    provider
}

/// The response after the layer.
async fn send<F, B>(layer: &ReadErrorsLayer<F>, answer: Response<B>) -> Response<PeekBody<B>>
where
    F: Fn(&ErrorResponse<'_>) -> ErrorVerdict + Clone,
    B: Body<Data = Bytes> + Unpin,
{
    let mut answer = Some(answer);
    let server = service_fn(|()| ready(Ok::<_, Infallible>(answer.take().unwrap())));
    layer.layer(server).oneshot(()).await.unwrap()
}

/// The response after the layer and a `HealthLayer` around it.
async fn call<F, B>(
    provider: &Provider,
    layer: &ReadErrorsLayer<F>,
    answer: Response<B>,
) -> Response<HealthBody<PeekBody<B>>>
where
    F: Fn(&ErrorResponse<'_>) -> ErrorVerdict + Clone,
    B: Body<Data = Bytes> + Unpin,
{
    let mut answer = Some(answer);
    let server = service_fn(|()| ready(Ok::<_, Infallible>(answer.take().unwrap())));
    let stack = HealthLayer::http(provider.clone()).layer(layer.layer(server));
    stack.oneshot(()).await.unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Full<Bytes>> {
    let empty = Response::builder().status(status);
    let response = headers.iter().fold(empty, |response, (name, value)| {
        response.header(*name, *value)
    });
    response.body(Full::from(body)).unwrap()
}

fn response<B>(status: u16, body: B) -> Response<B> {
    Response::builder().status(status).body(body).unwrap()
}

async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}

async fn text<B>(response: Response<B>) -> String
where
    B: Body<Error: fmt::Debug>,
{
    let body = response.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().into()).unwrap()
}

/// All frames of a body.
async fn frames(response: Response<PeekBody<Script>>) -> Vec<Step> {
    let mut body = response.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap();
        frames.push(match frame.into_data() {
            Ok(data) => Step::Data(data),
            Err(frame) => Step::Trailers(frame.into_trailers().unwrap()),
        });
    }
    frames
}

/// A step of a scripted body.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Wait(Duration),
    Data(Bytes),
    Trailers(HeaderMap),
    Reset,
}

fn wait(time: Duration) -> Step {
    Step::Wait(time)
}

fn data(text: &'static str) -> Step {
    Step::Data(text.into())
}

fn trailers() -> Step {
    Step::Trailers(HeaderMap::new())
}

fn reset() -> Step {
    Step::Reset
}

/// A body that follows a script. It must not be polled after its end.
struct Script {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            waiting: None,
            is_over: false,
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        assert!(!self.is_over, "polled after its end");
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let step = self.steps.pop_front();
            self.is_over = matches!(step, None | Some(Step::Reset));
            return Poll::Ready(match step {
                Some(Step::Wait(time)) => {
                    self.waiting = Some(Box::pin(sleep(time)));
                    continue;
                }
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Reset) => Some(Err("reset")),
                None => None,
            });
        }
    }
}
