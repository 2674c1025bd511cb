//! A response is held back until its body has begun: what goes wrong before is the call's error, and
//! what was held back is replayed untouched.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    future::ready,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, Sleep, sleep},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer, util::BoxService,
};
use tower_health::{
    BoxError, Cause, HealthCache, HealthLayer, Provider, Reason, State,
    error::{CircuitOpen, find},
    http::{
        Content, FirstContent, FirstSseEvent, HealthBody, PeekBody, PeekError, PeekLayer, SseEvent,
        unavailable_response,
    },
};
use tower_test::mock;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

type JudgeBytes = fn(&[u8]) -> Content;
type JudgeEvent = fn(&SseEvent<'_>) -> Content;

mod first_frame {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_a_response_back_until_the_first_data() {
        let body = Script::new([wait(3 * SECOND), data("Hello"), wait(SECOND), data("world")]);

        let (result, took) = timed(call(&PeekLayer::first_frame(), body)).await;

        assert_eq!(took, 3 * SECOND);
        assert_eq!(text(result.unwrap()).await, "Helloworld");
    }

    #[tokio::test(start_paused = true)]
    async fn holds_nothing_back_of_a_body_that_has_begun() {
        let peeking = call(&PeekLayer::first_frame(), Script::new([data("Hello")]));
        let response = assert_ready_ok!(task::spawn(peeking).poll());
        assert_eq!(text(response).await, "Hello");
    }

    #[tokio::test(start_paused = true)]
    async fn lets_an_empty_body_through() {
        let response = call(&PeekLayer::first_frame(), Script::new([wait(SECOND)])).await;

        let body = response.unwrap().into_body();
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert_eq!(frames(body).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn lets_trailers_without_data_through() {
        let body = Script::new([wait(SECOND), trailers("grpc-status", "0")]);
        let response = call(&PeekLayer::first_frame(), body).await.unwrap();
        let expected = [trailers("grpc-status", "0")];
        assert_eq!(frames(response.into_body()).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_without_data_is_no_beginning() {
        let body = Script::new([data(""), wait(SECOND), data("Hello")]);

        let (result, took) = timed(call(&PeekLayer::first_frame(), body)).await;

        assert_eq!(took, SECOND);
        let expected = [data(""), data("Hello")];
        assert_eq!(frames(result.unwrap().into_body()).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_before_it_is_the_calls_own() {
        for preamble in [vec![], vec![data("")], vec![wait(SECOND)]] {
            let body = Script::new(preamble.into_iter().chain([reset()]));
            let error = call(&PeekLayer::first_frame(), body).await.unwrap_err();
            assert!(error.is::<Reset>(), "unchanged in its box: {error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_after_it_is_the_bodys() {
        let body = Script::new([data("Hello"), reset()]);
        let response = call(&PeekLayer::first_frame(), body).await.unwrap();

        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(Step::from(first), data("Hello"));
        body.frame().await.unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn takes_data_of_any_type() {
        let service = service_fn(|_: Request<()>| {
            let rope = Bytes::from("Hello, ").chain(Bytes::from("world"));
            ready(Ok::<_, Reset>(Response::new(Full::new(rope))))
        });

        let service = PeekLayer::first_frame().layer(service);
        let response = service.oneshot(Request::default()).await.unwrap();

        assert_eq!(response.body().size_hint().exact(), Some(12));
        assert_eq!(text(response).await, "Hello, world");
    }
}

mod first_content {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_closure_sees_all_bytes_so_far_whenever_there_are_more() {
        let seen = Log::default();
        let log = seen.clone();
        let layer = PeekLayer::first_content(move |bytes| {
            log.push(bytes);
            if bytes.ends_with(b"!") {
                Content::Begun
            } else {
                Content::NotYet
            }
        });
        let body = Script::new([
            data(""),
            data("He"),
            wait(SECOND),
            data("ll"),
            data(""),
            data("o!"),
            data("unseen"),
        ]);

        let response = call(&layer, body).await.unwrap();

        assert_eq!(seen.take(), ["He", "Hell", "Hello!"]);
        assert_eq!(text(response).await, "Hello!unseen");
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_watched_from_its_own_beginning() {
        let seen = Log::default();
        let log = seen.clone();
        let layer = PeekLayer::first_content(move |bytes| {
            log.push(bytes);
            Content::NotYet
        });
        let mut service = layer.layer(service_fn(|_: Request<()>| {
            ready(Ok::<_, Reset>(Response::new(Script::new([
                data("a"),
                data("b"),
            ]))))
        }));

        for _ in 0..2 {
            let service = service.ready().await.unwrap();
            service.call(Request::default()).await.unwrap_err();
        }

        assert_eq!(seen.take(), ["a", "ab", "a", "ab"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_beginning_is_an_error_with_its_reason() {
        let body = Script::new([data("{"), data(r#""error": "overloaded"}"#)]);
        let error = call(&json(), body).await.unwrap_err();

        assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
        assert_eq!(error.to_string(), "body began with an error: overloaded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_ends_before_its_content_is_an_error() {
        for steps in [
            vec![],
            vec![data("{")],
            vec![data("{"), trailers("grpc-status", "0")],
        ] {
            let error = call(&json(), Script::new(steps)).await.unwrap_err();
            assert_eq!(peeked(&error), &PeekError::Ended);
            assert_eq!(error.to_string(), "body ended before its content");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_before_its_content_gives_the_call_its_error() {
        let body = Script::new([data("{"), reset()]);
        let error = call(&json(), body).await.unwrap_err();
        assert!(error.is::<Reset>());
    }

    #[tokio::test(start_paused = true)]
    async fn how_frames_are_split_changes_neither_verdict_nor_data() {
        let stream = br#"{"answer": "42"}"#;
        for (split, response) in calls_split_everywhere(&json(), stream).await {
            let body = response.unwrap().into_body();
            assert_eq!(
                body.collect().await.unwrap().to_bytes(),
                stream[..],
                "{split:?}"
            );
        }
    }

    /// Not yet, until there is a name; "error" is broken.
    fn json() -> PeekLayer<FirstContent<JudgeBytes>> {
        fn judge(bytes: &[u8]) -> Content {
            let text = std::str::from_utf8(bytes).unwrap();
            match text.split('"').collect::<Vec<_>>()[..] {
                [_, "error", _, reason, _] => Content::broken(reason.to_owned()),
                [_, name, _, ..] if name != "error" => Content::Begun,
                _ => Content::NotYet,
            }
        }
        PeekLayer::first_content(judge)
    }
}

mod first_sse_event {
    use super::*;

    /// Scenario 37.
    #[tokio::test(start_paused = true)]
    async fn an_error_as_first_event_is_the_calls_error() {
        let body = Script::new([data("event: error\ndata: overloaded\n\n"), wait(HOUR)]);
        let error = call(&tokens(), body).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
    }

    /// Scenario 37.
    #[tokio::test(start_paused = true)]
    async fn an_error_after_empty_deltas_is_the_calls_error() {
        let body = Script::new([
            data("data: \n\n"),
            wait(SECOND),
            data("data:\n\nevent: error\n"),
            wait(SECOND),
            data("data: overloaded\n\ndata: Hello\n\n"),
        ]);
        let (result, took) = timed(call(&tokens(), body)).await;
        let error = result.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
        assert_eq!(took, 2 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_after_the_first_token_is_the_callers_to_read() {
        let stream = "data: Hello\n\nevent: error\ndata: overloaded\n\n";
        let response = call(&tokens(), Script::new([data(stream)])).await;
        assert_eq!(text(response.unwrap()).await, stream);
    }

    #[tokio::test(start_paused = true)]
    async fn holds_back_comments_and_empty_deltas_and_replays_them() {
        let body = Script::new([
            data(": ping\n\n"),
            wait(SECOND),
            data("data:\n\n"),
            wait(SECOND),
            data("data: Hello\n"),
            wait(SECOND),
            data("\n"),
            data("data: world\n\n"),
            trailers("x-cost", "2"),
        ]);

        let (result, took) = timed(call(&tokens(), body)).await;

        assert_eq!(took, 3 * SECOND);
        let expected = [
            data(": ping\n\n"),
            data("data:\n\n"),
            data("data: Hello\n"),
            data("\n"),
            data("data: world\n\n"),
            trailers("x-cost", "2"),
        ];
        assert_eq!(frames(result.unwrap().into_body()).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_before_its_first_token_is_an_error() {
        for stream in ["", ": ping\n\n", "data:\n\n", "data: no blank line\n"] {
            let error = call(&tokens(), Script::new([data(stream)])).await;
            assert_eq!(peeked(&error.unwrap_err()), &PeekError::Ended, "{stream:?}");
        }
    }

    /// Every position, within characters, line ends and the byte order mark too.
    #[tokio::test(start_paused = true)]
    async fn how_frames_are_split_changes_neither_events_nor_data() {
        const STREAM: &str = "\u{FEFF}: ping\r\n\r\nid: 7\r\nevent: délta\r\ndata:\r\n\r\n\
            retry: 5\rdata: zwei\rdata: Zeilen €\r\rdata: Hello 🦀\n\ndata: unseen\n\n";
        let seen = Log::default();
        let log = seen.clone();
        let layer = PeekLayer::first_sse_event(move |event| {
            log.push(format!("{}|{}|{}", event.event, event.data, event.id).as_bytes());
            if event.data.starts_with("Hello") {
                Content::Begun
            } else {
                Content::NotYet
            }
        });

        for (split, response) in calls_split_everywhere(&layer, STREAM.as_bytes()).await {
            assert_eq!(text(response.unwrap()).await, STREAM, "{split:?}");
            let expected = ["délta||7", "message|zwei\nZeilen €|7", "message|Hello 🦀|7"];
            let events: Vec<_> = seen.0.lock().unwrap().drain(..expected.len()).collect();
            assert_eq!(events, expected, "{split:?}");
        }
        assert_eq!(seen.take(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_that_it_is_no_event_stream_passes_at_once() {
        for (content_type, is_peeked) in [
            (None, false),
            (Some("text/event-stream"), true),
            (Some("Text/Event-Stream ; charset=utf-8"), true),
            (Some("application/json"), false),
            (Some("text/event-streams"), false),
            (Some(""), false),
        ] {
            let mut response = Response::new(Script::new([data("{}")]));
            if let Some(content_type) = content_type {
                let content_type = HeaderValue::from_static(content_type);
                response.headers_mut().insert("content-type", content_type);
            }
            let result = send(&tokens(), Request::default(), response).await;
            assert_eq!(result.is_err(), is_peeked, "{content_type:?}");
        }
    }
}

mod first_content_and_events {
    use super::*;

    /// Both official clients of language models ask for `gzip`.
    #[tokio::test(start_paused = true)]
    async fn compressed_content_passes_at_once() {
        let stream = || Script::new([wait(HOUR), data("\u{1f}")]);
        let response = send(&tokens(), Request::default(), compressed(stream()));
        assert_ready_ok!(task::spawn(response).poll());
        let bytes = PeekLayer::first_content(|_| Content::broken("read"));
        let response = send(&bytes, Request::default(), compressed(stream()));
        assert_ready_ok!(task::spawn(response).poll());
    }

    #[tokio::test(start_paused = true)]
    async fn compressed_content_is_held_back_until_its_first_frame() {
        let body = Script::new([wait(SECOND), data("\u{1f}")]);
        let (response, took) = timed(send(
            &PeekLayer::first_frame(),
            Request::default(),
            compressed(body),
        ))
        .await;
        assert!(response.is_ok());
        assert_eq!(took, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_the_calls_error() {
        let layer = PeekLayer::first_sse_event(|event| {
            Content::throttled(
                event.data.parse().map(Duration::from_secs).ok(),
                "slow down",
            )
        });
        for (named, retry_after) in [("7", Some(7 * SECOND)), ("soon", None)] {
            let body = Script::new([data(&format!("data: {named}\n\n"))]);
            let error = call(&layer, body).await.unwrap_err();
            let expected = PeekError::Throttled {
                retry_after,
                reason: "slow down".into(),
            };
            assert_eq!(peeked(&error), &expected);
            assert_eq!(error.to_string(), "body began with a throttle: slow down");
        }
    }

    /// Before, a megabyte took minutes.
    #[tokio::test(start_paused = true)]
    async fn many_tiny_frames_take_time_in_proportion() {
        const FRAMES: usize = 200_000;
        let body = Script::new(vec![data("x"); FRAMES]);
        let layer = PeekLayer::first_content(|bytes| {
            if bytes.len() < FRAMES {
                Content::NotYet
            } else {
                Content::Begun
            }
        });
        let response = call(&layer.up_to(usize::MAX), body).await.unwrap();

        let mut body = response.into_body();
        for left in (1..=FRAMES as u64).rev() {
            assert_eq!(body.size_hint().lower(), left);
            body.frame().await.unwrap().unwrap();
        }
    }
}

mod whole {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_a_response_back_until_its_end() {
        let body = Script::new([data("{"), wait(SECOND), data("}")]);
        let (response, took) = timed(json(&PeekLayer::whole(), body)).await;
        assert_eq!(took, SECOND);
        assert_eq!(text(response.unwrap()).await, "{}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_half_way_gives_the_call_its_error() {
        let body = Script::new([data("{"), wait(SECOND), reset()]);
        let error = json(&PeekLayer::whole(), body).await.unwrap_err();
        assert!(error.is::<Reset>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_shorter_than_announced_is_an_error() {
        let mut body = Script::new([data("{"), data("}")]);
        body.hint = Hint::Exactly(3);
        let error = json(&PeekLayer::whole(), body).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Incomplete);
        assert_eq!(error.to_string(), "body ended before its announced length");
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_body_is_whole() {
        let response = json(&PeekLayer::whole(), Script::new([])).await;
        assert_eq!(text(response.unwrap()).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_longer_than_the_bound_is_let_through() {
        let layer = PeekLayer::whole().up_to(2);
        let body = Script::new([data("{"), data(" "), wait(HOUR), data("}")]);
        let response = assert_ready_ok!(task::spawn(json(&layer, body)).poll());
        assert_eq!(text(response).await, "{ }");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_time_is_an_error() {
        let layer = PeekLayer::whole().within(SECOND);
        let body = Script::new([data("{"), wait(HOUR), data("}")]);
        let error = json(&layer, body).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::TimedOut(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_pass_at_once() {
        for media_type in [
            "text/event-stream; charset=utf-8",
            "application/x-ndjson",
            "application/jsonl",
            "application/vnd.amazon.eventstream",
        ] {
            let body = Script::new([wait(HOUR), data("data: Hello\n\n")]);
            let response = of_type(&PeekLayer::whole(), media_type, body);
            assert_ready_ok!(task::spawn(response).poll());
        }
    }

    fn json<L>(layer: &L, body: Script) -> impl Future<Output = Peeked> + use<L>
    where
        L: Layer<Server>,
        L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
    {
        of_type(layer, "application/json", body)
    }

    fn of_type<L>(
        layer: &L,
        media_type: &'static str,
        body: Script,
    ) -> impl Future<Output = Peeked> + use<L>
    where
        L: Layer<Server>,
        L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
    {
        let mut response = Response::new(body);
        let media_type = HeaderValue::from_static(media_type);
        response.headers_mut().insert("content-type", media_type);
        send(layer, Request::default(), response)
    }
}

mod bounds {
    use super::*;

    /// Scenario 38.
    #[tokio::test(start_paused = true)]
    async fn comments_do_not_put_off_the_end_of_the_time() {
        let layer = tokens().within(5 * SECOND);

        let (result, took) = timed(call(&layer, slow_stream())).await;

        let error = result.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::TimedOut(5 * SECOND));
        assert_eq!(error.to_string(), "body did not begin within 5s");
        assert_eq!(took, 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_token_in_time_is_let_through_with_all_before_it() {
        let layer = tokens().within(10_001 * MILLISECOND);

        let (result, took) = timed(call(&layer, slow_stream())).await;

        assert_eq!(took, 10 * SECOND);
        let stream = text(result.unwrap()).await;
        assert_eq!(stream, ": ping\n\n".repeat(40) + "data: Hello\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_30_seconds_from_the_head_on() {
        let slow_head = |body: &Script| {
            let response = Response::new(body.clone());
            PeekLayer::first_frame().layer(service_fn(move |_: Request<()>| {
                let response = response.clone();
                async move {
                    sleep(HOUR).await;
                    Ok::<_, Reset>(response)
                }
            }))
        };
        let in_time = Script::new([wait(29_999 * MILLISECOND), data("Hello")]);
        let response = slow_head(&in_time).oneshot(Request::default()).await;
        assert_eq!(text(response.unwrap()).await, "Hello");

        let too_late = Script::new([wait(30_001 * MILLISECOND), data("Hello")]);
        let call = slow_head(&too_late).oneshot(Request::default());
        let (result, took) = timed(call).await;
        let error = result.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::TimedOut(30 * SECOND));
        assert_eq!(took, HOUR + 30 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_has_begun_has_all_the_time_it_wants() {
        let body = Script::new([wait(SECOND), data("Hello"), wait(HOUR), data("world")]);
        let response = call(&PeekLayer::first_frame(), body).await.unwrap();
        assert_eq!(text(response).await, "Helloworld");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_above_bounds_the_head_and_the_beginning_together() {
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(10 * SECOND))
            .layer(PeekLayer::first_frame().within(8 * SECOND))
            .service_fn(|_: Request<()>| async {
                sleep(6 * SECOND).await;
                let body = Script::new([wait(6 * SECOND), data("Hello")]);
                Ok::<_, Reset>(Response::new(body))
            });
        let (result, took) = timed(service.oneshot(Request::default())).await;
        assert!(result.unwrap_err().is::<tower::timeout::error::Elapsed>());
        assert_eq!(took, 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_below_bounds_the_head_alone() {
        let service = ServiceBuilder::new()
            .layer(PeekLayer::first_frame().within(8 * SECOND))
            .layer(TimeoutLayer::new(10 * SECOND))
            .service_fn(|_: Request<()>| async {
                sleep(6 * SECOND).await;
                let body = Script::new([wait(6 * SECOND), data("Hello")]);
                Ok::<_, Reset>(Response::new(body))
            });
        let (result, took) = timed(service.oneshot(Request::default())).await;
        assert_eq!(text(result.unwrap()).await, "Hello");
        assert_eq!(took, 12 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_longer_than_the_bound_is_let_through_whole() {
        let layer = undecided().up_to(10);
        let body = Script::new([data("12345"), data("6789"), data("0ab"), data("c")]);
        let left = body.left();

        let response = call(&layer, body).await.unwrap();

        assert_eq!(left.load(Ordering::Relaxed), 1, "no more is read than that");
        assert_eq!(text(response).await, "1234567890abc");
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_is_64_kib() {
        let kib = "x".repeat(1024);
        let body = Script::new(vec![data(&kib); 100]);
        let left = body.left();

        let response = call(&undecided(), body).await.unwrap();

        assert_eq!(left.load(Ordering::Relaxed), 36);
        assert_eq!(text(response).await.len(), 100 * 1024);
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_on_the_frame_that_reaches_the_bound_counts() {
        let body = Script::new([data("event: error\ndata: overloaded\n\n")]);
        let error = call(&tokens().up_to(1), body).await.unwrap_err();
        assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_data_are_held_up_to_the_bound_too() {
        let body = Script::new(vec![data(""); 100]);
        let left = body.left();

        let response = call(&undecided().up_to(10), body).await.unwrap();

        assert_eq!(left.load(Ordering::Relaxed), 90);
        assert_eq!(frames(response.into_body()).await.len(), 100);
    }

    #[test]
    #[should_panic(expected = "`PeekLayer::within` must be longer than zero, got 0ns")]
    fn no_time_is_refused() {
        let _ = PeekLayer::first_frame().within(Duration::ZERO);
    }

    #[test]
    #[should_panic(expected = "`PeekLayer::up_to` must be at least 1, got 0")]
    fn no_bytes_are_refused() {
        let _ = PeekLayer::first_frame().up_to(0);
    }

    /// A comment every 250 ms, the first token after 10 s.
    fn slow_stream() -> Script {
        let pings = (0..40).flat_map(|_| [wait(250 * MILLISECOND), data(": ping\n\n")]);
        Script::new(pings.chain([data("data: Hello\n\n")]))
    }

    fn undecided() -> PeekLayer<FirstContent<JudgeBytes>> {
        PeekLayer::first_content(|_| Content::NotYet)
    }
}

mod what_is_not_held_back {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whatever_is_no_success() {
        for status in 100..=999 {
            let mut response = broken();
            *response.status_mut() = status.try_into().unwrap();
            let result = send(&tokens(), Request::default(), response).await;
            let is_peeked = (200..=299).contains(&status) && ![204, 205].contains(&status);
            assert_eq!(result.is_err(), is_peeked, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_method_that_has_no_content() {
        for (method, is_peeked) in [
            (Method::HEAD, false),
            (Method::CONNECT, false),
            (Method::GET, true),
            (Method::POST, true),
        ] {
            let request = Request::builder().method(&method).body(()).unwrap();
            let result = send(&tokens(), request, broken()).await;
            assert_eq!(result.is_err(), is_peeked, "{method}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn its_body_is_not_touched() {
        let body = Script::new([wait(HOUR), data("not found")]);
        let left = body.left();
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::NOT_FOUND;

        let peeking = send(&PeekLayer::first_frame(), Request::default(), response);
        let response = assert_ready_ok!(task::spawn(peeking).poll());

        assert_eq!(left.load(Ordering::Relaxed), 2);
        assert_eq!(text(response).await, "not found");
    }

    fn broken() -> Response<Script> {
        event_stream(Script::new([data("event: error\ndata: overloaded\n\n")]))
    }
}

mod replay {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_head_is_handed_on_unchanged() {
        let mut response = Response::new(Script::new([data("Hello")]));
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        let id = HeaderValue::from_static("7");
        response.headers_mut().insert("x-request-id", id);
        response.extensions_mut().insert("of a layer below");

        let response = send(&PeekLayer::first_frame(), Request::default(), response).await;

        let response = response.unwrap();
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()["x-request-id"], "7");
        assert_eq!(response.extensions().get(), Some(&"of a layer below"));
    }

    #[tokio::test(start_paused = true)]
    async fn data_is_not_copied() {
        let pieces = ["ping", "Hello", "world"].map(|text| Bytes::from(text.to_owned()));
        let layer = PeekLayer::first_content(|bytes| {
            if bytes.len() > 4 {
                Content::Begun
            } else {
                Content::NotYet
            }
        });
        let body = Script::new(pieces.clone().map(Step::Data));
        let mut body = call(&layer, body).await.unwrap().into_body();

        for piece in pieces {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.data_ref().unwrap().as_ptr(), piece.as_ptr());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn size_and_end_are_those_of_the_whole() {
        let layer = PeekLayer::first_content(|bytes| {
            if bytes.len() > 6 {
                Content::Begun
            } else {
                Content::NotYet
            }
        });
        let body = Script::new([data("Hello"), data("world"), data("!")]).sized();

        let mut body = call(&layer, body).await.unwrap().into_body();

        for left in [11, 6, 1] {
            assert_eq!(body.size_hint().exact(), Some(left));
            assert!(!body.is_end_stream());
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_read_to_its_last_frame_has_not_ended_before_that_is_replayed() {
        let body = Script::new([data("Hello")]).sized();
        let mut body = call(&PeekLayer::first_frame(), body)
            .await
            .unwrap()
            .into_body();
        assert!(!body.is_end_stream());
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_size_stays_unknown() {
        let body = Script::new([data("Hello"), data("world")]);
        let response = call(&PeekLayer::first_frame(), body).await.unwrap();
        let hint = response.body().size_hint();
        assert_eq!((hint.lower(), hint.upper()), (5, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_that_is_too_large_to_be_known_is_unknown() {
        let mut body = Script::new([data("Hello"), data("world")]);
        body.hint = Hint::Exactly(u64::MAX);
        let response = call(&PeekLayer::first_frame(), body).await.unwrap();
        let hint = response.body().size_hint();
        assert_eq!((hint.lower(), hint.upper()), (u64::MAX, None));
    }
}

mod as_a_service {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readiness_and_its_error_are_the_inner_services() {
        let layer = PeekLayer::first_frame();
        let (mut service, mut handle) =
            mock::spawn_layer::<Request<()>, Response<Script>, _>(layer);
        handle.allow(0);
        assert_pending!(service.poll_ready());
        handle.allow(1);
        assert_ready_ok!(service.poll_ready());

        handle.send_error(Reset);
        let error = assert_ready_err!(service.poll_ready());
        assert!(error.is::<Reset>());
    }

    #[tokio::test(start_paused = true)]
    async fn the_services_error_is_the_calls_own() {
        let refusing = service_fn(|_: Request<()>| ready(Err::<Response<Script>, _>(Reset)));
        let service = PeekLayer::first_frame().layer(refusing);
        let error = service.oneshot(Request::default()).await.unwrap_err();
        assert!(error.is::<Reset>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_drops_the_response() {
        let body = Script::new([data(": ping\n\n"), wait(SECOND), data("data: Hello\n\n")]);
        let left = body.left();

        let mut peeking = task::spawn(call(&tokens(), body));
        assert_pending!(peeking.poll());
        assert_eq!(Arc::strong_count(&left), 2);
        drop(peeking);

        assert_eq!(Arc::strong_count(&left), 1);
    }
}

mod over_a_socket {
    use super::*;

    const PING: &str = "8\r\n: ping\n\n\r\n";
    const HELLO: &str = "d\r\ndata: Hello\n\n\r\n";
    const END: &str = "0\r\nx-cost: 2\r\n\r\n";

    #[tokio::test]
    async fn a_stream_arrives_whole() {
        let response = ask([PING, HELLO, END].concat()).await.unwrap();

        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-cost"], "2");
        assert_eq!(body.to_bytes(), ": ping\n\ndata: Hello\n\n");
    }

    #[tokio::test]
    async fn a_connection_that_closes_before_the_first_token_fails_the_call() {
        let error = ask(PING.to_owned()).await.unwrap_err();
        assert!(
            error.is::<hyper::Error>(),
            "unchanged in its box: {error:?}"
        );
    }

    /// A call to a server that sends these chunks, and closes.
    async fn ask(chunks: String) -> Result<Response<HealthBody<PeekBody<Incoming>>>, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let request = socket.read(&mut [0; 1024]).await.unwrap();
            assert!(request > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
            let response = [head, &chunks].concat();
            socket.write_all(response.as_bytes()).await.unwrap();
        });
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = Request::get(uri).body(Full::default()).unwrap();
        ServiceBuilder::new()
            .layer(HealthLayer::http(provider()))
            .layer(tokens())
            .service(client)
            .oneshot(request)
            .await
    }
}

mod below_a_health_layer {
    use super::*;

    /// Scenario 37.
    #[tokio::test(start_paused = true)]
    async fn two_broken_beginnings_open_the_breaker() {
        let provider = provider();
        let broken = Script::new([data("event: error\ndata: overloaded\n\n")]);

        for _ in 0..2 {
            assert_eq!(provider.health().state, State::Closed);
            let error = guarded(&provider, &broken).await.unwrap_err();
            assert_eq!(peeked(&error), &PeekError::Broken("overloaded".into()));
        }

        let health = provider.health();
        assert_eq!(health.state, State::Open);
        let reason = "body began with an error: overloaded";
        assert_eq!(health.last_error.unwrap(), reason);
        let error = guarded(&provider, &broken).await.unwrap_err();
        assert!(find::<CircuitOpen>(&*error).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_keeps_a_body_from_beginning_is_a_failure() {
        for (beginning, reason) in [
            (wait(HOUR), "timeout: body did not begin within 30s"),
            (reset(), "connection reset"),
            (data(""), "incomplete: body ended before its content"),
        ] {
            let provider = provider();
            guarded(&provider, &Script::new([beginning]))
                .await
                .unwrap_err();
            let health = provider.health();
            assert_eq!(health.consecutive_failures, 1);
            assert_eq!(health.last_error.unwrap(), reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_begins_and_ends_is_a_success() {
        let provider = provider();
        provider.mark_unhealthy("a strike");
        let well = Script::new([data("data: Hello\n\n")]);
        let response = guarded(&provider, &well).await.unwrap();
        response.into_body().collect().await.unwrap();
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    /// Anthropic ends a turn without any content where the model has nothing to say.
    #[tokio::test(start_paused = true)]
    async fn a_turn_without_content_is_the_callers_and_a_success() {
        let provider = provider();
        provider.mark_unhealthy("a strike");
        let turn = "event: message_start\ndata: {}\n\nevent: message_stop\ndata: {}\n\n";
        let layer = PeekLayer::first_sse_event(|event| match event.event {
            "content_block_delta" => Content::Begun,
            _ => Content::NotYet,
        });
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .layer(layer)
            .service_fn(|_: Request<()>| {
                let response = event_stream(Script::new([data(turn)]));
                ready(Ok::<_, Reset>(response))
            });
        let response = stack.oneshot(Request::default()).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), turn);
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn compressed_events_are_not_held_against_their_provider() {
        let provider = provider();
        provider.mark_unhealthy("a strike");
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .layer(PeekLayer::first_sse_event(|_| Content::Begun))
            .service_fn(|_: Request<()>| {
                let response = compressed(Script::new([data("\u{1f}")]));
                ready(Ok::<_, Reset>(response))
            });
        assert!(stack.oneshot(Request::default()).await.is_ok());
        assert_eq!(provider.health().consecutive_failures, 1);
        assert!(provider.is_healthy());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_in_a_body_throttles_without_a_strike() {
        let error = after_first_event(Content::throttled(Some(7 * SECOND), "slow down")).await;
        let (provider, error) = error;
        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Throttled));
        assert_eq!(health.retry_in, Some(7 * SECOND));
        assert_eq!(health.consecutive_failures, 0);
        let answer = unavailable_response(&*error);
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "7");
    }

    #[tokio::test(start_paused = true)]
    async fn the_label_of_what_a_provider_reports_is_kept() {
        let reason = Reason::labelled("quota", "3 of 3 used");
        let (provider, error) = after_first_event(Content::broken(reason)).await;
        let reason = provider.health().last_error.unwrap();
        assert_eq!(reason.label(), "quota");
        assert_eq!(
            reason,
            "quota: body began with an error: quota: 3 of 3 used"
        );
        let answer = unavailable_response(&*error);
        assert_eq!(answer.body(), r#"{"error":"quota","attempts":[]}"#);
    }

    /// A provider after one call, and the error of that.
    async fn after_first_event(content: Content) -> (Provider, BoxError) {
        let provider = provider();
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .layer(PeekLayer::first_sse_event(move |_| content.clone()))
            .service_fn(|_: Request<()>| {
                let response = event_stream(Script::new([data("data: {}\n\n")]));
                ready(Ok::<_, Reset>(response))
            });
        let error = stack.oneshot(Request::default()).await.map(|_| ());
        (provider, error.unwrap_err())
    }

    /// Scenario 45.
    #[tokio::test(start_paused = true)]
    async fn a_caller_who_walks_away_before_the_beginning_says_nothing() {
        let provider = provider();
        provider.mark_unhealthy("a strike");
        let slow = Script::new([wait(SECOND), data("data: Hello\n\n")]);
        for _ in 0..3 {
            assert_pending!(task::spawn(guarded(&provider, &slow)).poll());
            assert_eq!(provider.health().consecutive_failures, 1);
        }
    }

    fn guarded(
        provider: &Provider,
        body: &Script,
    ) -> impl Future<Output = Result<Response<HealthBody<PeekBody<Script>>>, BoxError>> + use<>
    {
        let response = event_stream(body.clone());
        ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .layer(tokens())
            .service_fn(move |_: Request<()>| ready(Ok::<_, Reset>(response.clone())))
            .oneshot(Request::default())
    }
}

/// Waits for an event with data; one that is called "error" is broken.
fn tokens() -> PeekLayer<FirstSseEvent<JudgeEvent>> {
    fn judge(event: &SseEvent<'_>) -> Content {
        match event.event {
            "error" => Content::broken(event.data.to_owned()),
            _ if event.data.is_empty() => Content::NotYet,
            _ => Content::Begun,
        }
    }
    PeekLayer::first_sse_event(judge)
}

fn provider() -> Provider {
    HealthCache::default().provider("groq")
}

/// A service whose responses have a body of the test's making.
type Server = BoxService<Request<()>, Response<Script>, Reset>;

type Peeked = Result<Response<PeekBody<Script>>, BoxError>;

/// A call through `layer` to a server that answers with this body, as a stream of events.
fn call<L>(layer: &L, body: Script) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    send(layer, Request::default(), event_stream(body))
}

fn event_stream(body: Script) -> Response<Script> {
    let mut response = Response::new(body);
    let media_type = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", media_type);
    response
}

/// The same, compressed: what the data of `body` is not.
fn compressed(body: Script) -> Response<Script> {
    let mut response = event_stream(body);
    let coding = HeaderValue::from_static("gzip");
    response.headers_mut().insert("content-encoding", coding);
    response
}

fn send<L>(
    layer: &L,
    request: Request<()>,
    response: Response<Script>,
) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    let mut response = Some(response);
    let server = service_fn(move |_| ready(Ok(response.take().expect("one call"))));
    layer.layer(BoxService::new(server)).oneshot(request)
}

/// What becomes of `stream` in two frames, split at each position, and in frames of each length.
async fn calls_split_everywhere<L>(layer: &L, stream: &'static [u8]) -> Vec<(String, Peeked)>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    let mut calls = Vec::new();
    for at in 0..=stream.len() {
        let (left, right) = stream.split_at(at);
        let halves = [left, right].map(|half| Step::Data(Bytes::from_static(half)));
        let response = call(layer, Script::new(halves)).await;
        calls.push((format!("split at {at}"), response));
    }
    for length in 1..=stream.len() {
        let pieces = stream
            .chunks(length)
            .map(Bytes::from_static)
            .map(Step::Data);
        let response = call(layer, Script::new(pieces)).await;
        calls.push((format!("in pieces of {length}"), response));
    }
    calls
}

fn peeked(error: &BoxError) -> &PeekError {
    find(&**error).unwrap_or_else(|| panic!("no `PeekError`: {error:?}"))
}

async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}

async fn text<B: Body<Error: fmt::Debug>>(response: Response<B>) -> String {
    let body = response.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().into()).unwrap()
}

/// All frames to the end.
async fn frames(mut body: PeekBody<Script>) -> Vec<Step> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap().into());
    }
    frames
}

/// What a body does next.
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

fn data(text: &str) -> Step {
    Step::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn trailers(name: &'static str, value: &'static str) -> Step {
    let pair = (name.try_into().unwrap(), HeaderValue::from_static(value));
    Step::Trailers(HeaderMap::from_iter([pair]))
}

fn reset() -> Step {
    Step::Reset
}

impl From<Frame<Bytes>> for Step {
    fn from(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap()),
        }
    }
}

/// A body that does one step after the other. It must not be polled after its end.
struct Script {
    steps: VecDeque<Step>,
    hint: Hint,
    left: Arc<AtomicUsize>,
    waiting: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

#[derive(Clone, Copy)]
enum Hint {
    Unknown,
    /// The data that is left.
    Remaining,
    Exactly(u64),
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps: VecDeque<_> = steps.into_iter().collect();
        Self {
            left: Arc::new(AtomicUsize::new(steps.len())),
            steps,
            hint: Hint::Unknown,
            waiting: None,
            is_over: false,
        }
    }

    /// One that knows its size and its end.
    fn sized(self) -> Self {
        Self {
            hint: Hint::Remaining,
            ..self
        }
    }

    /// How many steps are still to be done.
    fn left(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.left)
    }

    fn next_step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front();
        self.left.store(self.steps.len(), Ordering::Relaxed);
        step
    }
}

impl Clone for Script {
    fn clone(&self) -> Self {
        Self {
            hint: self.hint,
            ..Self::new(self.steps.clone())
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let frame = match self.next_step() {
                Some(Step::Wait(time)) => {
                    self.waiting = Some(Box::pin(sleep(time)));
                    continue;
                }
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Reset) => Some(Err(Reset)),
                None => {
                    let was_over = mem::replace(&mut self.is_over, true);
                    assert!(!was_over, "polled after its end");
                    None
                }
            };
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.hint, Hint::Remaining) && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint {
            Hint::Unknown => SizeHint::default(),
            Hint::Exactly(size) => SizeHint::with_exact(size),
            Hint::Remaining => {
                let sizes = self.steps.iter().map(|step| match step {
                    Step::Data(data) => data.len() as u64,
                    _ => 0,
                });
                SizeHint::with_exact(sizes.sum())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset")
    }
}

impl Error for Reset {}

/// What a closure was given.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }
}
