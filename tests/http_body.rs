//! The verdict on a response waits for its body, and the body comes through as it was sent.
#![cfg(feature = "http")]

use std::{
    future::ready,
    io,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{
    BodyExt, Empty, Full,
    channel::{Channel, Sender},
};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    task::JoinSet,
    time::advance,
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    BoxError, Cause, Classify, HealthCache, HealthLayer, Policy, Provider, State, Trip,
    error::{CircuitOpen, find},
    http::{HealthBody, IdleBody, StatusClassifier},
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Upstream = Sender<Bytes, io::Error>;
type Stream = HealthBody<Channel<Bytes, io::Error>>;

mod verdict {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_ends_well_is_a_success_at_its_end_and_not_before() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = stream(&provider).await;

        for chunk in ["to", "ken"] {
            upstream.send_data(chunk.into()).await.unwrap();
            assert_eq!(data(&mut body).await, chunk);
            assert_eq!(strikes(&provider), 1);
        }
        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_byte_is_the_end_where_the_body_knows_it() {
        let provider = with_a_strike();
        let mut body = respond(&provider, full("all of it")).await;

        assert_eq!(data(&mut body).await, "all of it");

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_are_the_end() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = stream(&provider).await;

        upstream.send_trailers(checksum()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();

        assert_eq!(frame.into_trailers().unwrap(), checksum());
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_body_is_a_success_at_once() {
        let provider = with_a_strike();
        let _unread = respond(&provider, Empty::<Bytes>::new()).await;
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_a_single_frame_is_a_success_at_its_end() {
        let provider = with_a_strike();
        let (upstream, mut body) = stream(&provider).await;
        assert_eq!(strikes(&provider), 1);

        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_is_a_failure_and_its_reader_gets_the_error() {
        let provider = with_a_strike();
        let (upstream, mut body) = stream(&provider).await;

        upstream.abort(reset());
        let error = body.frame().await.unwrap().unwrap_err();

        let error = error.downcast::<io::Error>().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(strikes(&provider), 2);
        assert_eq!(provider.health().last_error.unwrap(), "reset by peer");
    }

    /// Scenario 36.
    #[tokio::test(start_paused = true)]
    async fn a_provider_whose_bodies_break_after_the_first_chunk_opens_at_the_second() {
        let provider = HealthCache::default().provider("groq");

        for state in [State::Closed, State::Open] {
            let (mut upstream, mut body) = stream(&provider).await;
            upstream.send_data("half of".into()).await.unwrap();
            upstream.abort(reset());

            assert_eq!(data(&mut body).await, "half of");
            let error = body.frame().await.unwrap().unwrap_err();
            assert_eq!(error.to_string(), "reset by peer");
            assert_eq!(provider.health().state, state);
        }

        let refused = try_respond(&provider, Empty::<Bytes>::new()).await;
        assert!(find::<CircuitOpen>(&refused.unwrap_err()).is_some());
    }

    /// Scenario 45.
    #[tokio::test(start_paused = true)]
    async fn a_body_dropped_by_its_reader_says_nothing() {
        let provider = with_a_strike();

        for chunks in 0..3 {
            let (mut upstream, mut body) = stream(&provider).await;
            for _ in 0..chunks {
                upstream.send_data("token".into()).await.unwrap();
                data(&mut body).await;
            }
            advance(DAY).await;
            drop(body);
        }

        assert_eq!(provider.health().state, State::Closed);
        assert_eq!(provider.health().last_error.unwrap(), "a strike");
    }

    /// Rule 11.
    #[tokio::test(start_paused = true)]
    async fn a_body_dropped_after_too_long_is_a_failure_where_cancelled_calls_are() {
        let provider = tripping_at(Trip::consecutive(3).cancelled_after(10 * SECOND));

        for (millis, strikes_after) in [(9_999, 0), (10_000, 1)] {
            let (mut upstream, mut body) = stream(&provider).await;
            upstream.send_data("token".into()).await.unwrap();
            data(&mut body).await;
            advance(Duration::from_millis(millis)).await;
            drop(body);
            assert_eq!(strikes(&provider), strikes_after);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_success_has_its_verdict_before_its_body() {
        for (status, strikes_after) in [(503, 2), (404, 1)] {
            let provider = with_a_strike();
            let (upstream, channel) = Channel::<Bytes, _>::new(1);
            let response = Response::builder().status(status).body(channel).unwrap();
            let classifier = StatusClassifier::new();
            let permit = provider.admit().unwrap();

            let response = classifier.classify(Ok::<_, BoxError>(response), permit);
            assert_eq!(strikes(&provider), strikes_after);

            upstream.abort(reset());
            let mut body = response.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_err());
            assert_eq!(strikes(&provider), strikes_after, "counted once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_goes_on_after_its_end_is_judged_once() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = stream(&provider).await;

        upstream.send_trailers(checksum()).await.unwrap();
        upstream.abort(reset());
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap_err();

        assert_eq!(strikes(&provider), 0);
    }
}

mod half_open {
    use super::*;

    /// Rule 4.
    #[tokio::test(start_paused = true)]
    async fn a_trial_gives_its_slot_back_at_the_first_frame() {
        let provider = half_open();
        let (mut upstream, mut body) = stream(&provider).await;
        assert!(provider.admit().is_err(), "no frame has come");

        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;

        assert_eq!(provider.health().state, State::HalfOpen);
        assert!(provider.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_without_its_slot_closes_by_its_end() {
        let provider = half_open();
        let (mut upstream, mut body) = stream(&provider).await;
        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;

        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(provider.health().state, State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_without_its_slot_opens_by_its_failure() {
        let provider = half_open();
        let (mut upstream, mut body) = stream(&provider).await;
        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;

        upstream.abort(reset());
        body.frame().await.unwrap().unwrap_err();

        assert_eq!(provider.health().retry_in, Some(MINUTE));
    }

    /// Rule 3.
    #[tokio::test(start_paused = true)]
    async fn a_trial_dropped_after_its_first_frame_leaves_no_pause() {
        let provider = half_open();
        let (mut upstream, mut body) = stream(&provider).await;
        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;

        drop(body);

        assert_eq!(provider.health().state, State::HalfOpen);
        assert!(provider.is_healthy());
    }

    fn half_open() -> Provider {
        let provider = HealthCache::default().provider("groq");
        open(&provider);
        assert!(provider.grant_trial());
        provider
    }
}

mod late {
    use super::*;

    /// Rule 1; scenario 1.
    #[tokio::test(start_paused = true)]
    async fn a_stream_from_before_the_trip_does_not_close_by_its_end() {
        let provider = HealthCache::default().provider("groq");
        let (upstream, mut body) = stream(&provider).await;
        open(&provider);

        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(provider.health().retry_in, Some(MINUTE));
    }

    /// Rule 1; scenario 2.
    #[tokio::test(start_paused = true)]
    async fn a_stream_from_before_the_trip_does_not_extend_by_its_failure() {
        let provider = HealthCache::default().provider("groq");
        let (upstream, mut body) = stream(&provider).await;
        open(&provider);
        advance(30 * SECOND).await;

        upstream.abort(reset());
        body.frame().await.unwrap().unwrap_err();

        let health = provider.health();
        assert_eq!(health.retry_in, Some(30 * SECOND));
        assert_eq!(health.last_error.unwrap(), "connection refused");
    }

    /// Rule 1.
    #[tokio::test(start_paused = true)]
    async fn a_trial_that_streams_on_after_another_has_closed_changes_nothing() {
        let provider = HealthCache::default().provider("groq");
        open(&provider);
        assert!(provider.grant_trial());
        let (mut upstream, mut body) = stream(&provider).await;
        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;
        provider.admit().unwrap().success();

        upstream.abort(reset());
        body.frame().await.unwrap().unwrap_err();

        assert_eq!(provider.health().state, State::Closed);
        assert_eq!(strikes(&provider), 0);
    }
}

mod slow_call {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_stream_is_not_slow_if_it_began_in_time() {
        let provider = struck(Trip::consecutive(3).slow_call(SECOND));
        let (mut upstream, mut body) = stream(&provider).await;

        advance(Duration::from_millis(999)).await;
        for _ in 0..3 {
            upstream.send_data("token".into()).await.unwrap();
            data(&mut body).await;
            advance(MINUTE).await;
        }
        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_began_late_is_slow() {
        let provider = struck(Trip::consecutive(3).slow_call(SECOND));
        let (mut upstream, mut body) = stream(&provider).await;

        advance(SECOND).await;
        upstream.send_data("token".into()).await.unwrap();
        data(&mut body).await;
        drop(upstream);
        assert!(body.frame().await.is_none());

        assert_eq!(strikes(&provider), 2);
        assert_eq!(provider.health().last_error.unwrap(), "slow call");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stops_when_the_slot_is_first_released() {
        let provider = struck(Trip::consecutive(3).slow_call(SECOND));
        let mut permit = provider.admit().unwrap();

        permit.release_slot();
        advance(SECOND).await;
        permit.release_slot();
        advance(SECOND).await;
        permit.success();

        assert_eq!(strikes(&provider), 0);
    }
}

mod idle {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const ALMOST: Duration = Duration::from_millis(29_999);

    #[tokio::test(start_paused = true)]
    async fn silence_beyond_the_limit_is_a_failure_and_its_reader_gets_an_error() {
        let provider = with_a_strike();
        let (_upstream, mut body) = limited(&provider, LIMIT).await;
        let mut reader = task::spawn(body.frame());

        assert_pending!(reader.poll());
        advance(ALMOST).await;
        assert_pending!(reader.poll());
        advance(MILLISECOND).await;
        assert!(reader.is_woken());
        let error = assert_ready!(reader.poll()).unwrap().unwrap_err();

        assert_eq!(find::<IdleBody>(&error).unwrap().limit, LIMIT);
        assert_eq!(strikes(&provider), 2);
        assert_eq!(provider.health().last_error.unwrap(), "timeout: idle body");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_after_the_error() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = limited(&provider, LIMIT).await;
        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());
        advance(LIMIT).await;
        assert_ready!(reader.poll()).unwrap().unwrap_err();
        drop(reader);

        upstream.send_data("token".into()).await.unwrap();
        assert!(assert_ready!(task::spawn(body.frame()).poll()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn each_frame_breaks_the_silence() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = limited(&provider, LIMIT).await;

        for _ in 0..3 {
            let mut reader = task::spawn(body.frame());
            assert_pending!(reader.poll());
            advance(ALMOST).await;
            upstream.send_data("token".into()).await.unwrap();
            assert_ready!(reader.poll()).unwrap().unwrap();
        }

        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());
        advance(LIMIT).await;
        assert_ready!(reader.poll()).unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn the_silence_before_the_end_counts() {
        let provider = with_a_strike();
        let (upstream, mut body) = limited(&provider, LIMIT).await;
        let mut reader = task::spawn(body.frame());

        assert_pending!(reader.poll());
        advance(ALMOST).await;
        drop(upstream);
        assert!(assert_ready!(reader.poll()).is_none());

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_providers_fault() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = limited(&provider, LIMIT).await;

        for _ in 0..3 {
            advance(DAY).await;
            upstream.send_data("token".into()).await.unwrap();
            assert_eq!(data(&mut body).await, "token");
        }

        // Nothing is there for a reader who was long away: the silence begins now.
        advance(DAY).await;
        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());
        advance(ALMOST).await;
        assert_pending!(reader.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_its_reader_was_away_is_read() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = limited(&provider, LIMIT).await;

        assert_pending!(task::spawn(body.frame()).poll());
        upstream.send_data("token".into()).await.unwrap();
        advance(DAY).await;

        assert_eq!(data(&mut body).await, "token");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_silent_for_ever_by_default() {
        let provider = with_a_strike();
        let (_upstream, mut body) = stream(&provider).await;
        let mut reader = task::spawn(body.frame());

        assert_pending!(reader.poll());
        advance(DAY).await;
        assert_pending!(reader.poll());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_limit_does_not_overflow() {
        let provider = with_a_strike();
        let (_upstream, mut body) = limited(&provider, Duration::MAX).await;
        let mut reader = task::spawn(body.frame());

        assert_pending!(reader.poll());
        advance(DAY).await;
        assert_pending!(reader.poll());
    }

    #[test]
    #[should_panic(expected = "`StatusClassifier::idle_timeout` must be longer than zero")]
    fn no_time_at_all_is_refused() {
        let _ = StatusClassifier::new().idle_timeout(Duration::ZERO);
    }

    async fn limited(provider: &Provider, limit: Duration) -> (Upstream, Stream) {
        let classifier = StatusClassifier::new().idle_timeout(limit);
        let layer = HealthLayer::new(provider.clone()).classify(classifier);
        let (upstream, channel) = Channel::new(8);
        (upstream, call(&layer, channel).await.unwrap())
    }
}

mod passes_through {
    use super::*;

    #[tokio::test]
    async fn two_hundred_streams_of_a_hundred_chunks_byte_for_byte() {
        let provider = with_a_strike();
        let mut streams = JoinSet::new();

        for seed in 0..200 {
            let (mut upstream, body) = stream(&provider).await;
            streams.spawn(async move {
                for chunk in chunks(seed) {
                    upstream.send_data(chunk).await.unwrap();
                }
                upstream.send_trailers(checksum()).await.unwrap();
            });
            streams.spawn(async move {
                let received = body.collect().await.unwrap();
                assert_eq!(received.trailers(), Some(&checksum()));
                let sent: Vec<_> = chunks(seed).collect();
                assert_eq!(received.to_bytes(), sent.concat());
            });
        }

        while let Some(stream) = streams.join_next().await {
            stream.unwrap();
        }
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_come_as_they_were_sent_and_no_earlier() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = stream(&provider).await;

        for chunk in chunks(7) {
            assert_pending!(task::spawn(body.frame()).poll());
            upstream.send_data(chunk.clone()).await.unwrap();
            assert_eq!(data(&mut body).await, chunk);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hints_are_those_of_the_inner_body() {
        let provider = with_a_strike();
        let mut body = respond(&provider, full("four")).await;
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());

        data(&mut body).await;
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());

        let (_upstream, unknown) = stream(&provider).await;
        assert_eq!(unknown.size_hint().exact(), None);
        assert!(!unknown.is_end_stream());
    }

    /// Section 9.
    #[test]
    fn a_body_that_ends_well_allocates_nothing() {
        let classifier = StatusClassifier::new().idle_timeout(MINUTE);
        let provider = HealthCache::default().provider("groq");
        let permit = provider.admit().unwrap();
        let response = Response::new(full("all of it"));

        let one_body = measure(|| {
            let response = classifier.classify(Ok::<_, BoxError>(response), permit);
            let mut body = response.unwrap().into_body();
            let reader = body.frame();
            let mut context = Context::from_waker(Waker::noop());
            let frame = pin!(reader).poll(&mut context);
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        });

        assert_eq!(one_body.count_total, 0);
    }

    fn chunks(seed: usize) -> impl Iterator<Item = Bytes> {
        (0..100).map(move |index| {
            let length = (seed * 31 + index * 17) % 257;
            let byte = |at: usize| u8::try_from((seed + index * 7 + at * 13) % 251).unwrap();
            (0..length).map(byte).collect()
        })
    }
}

mod over_hyper {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_byte_that_was_announced_is_the_end() {
        let provider = with_a_strike();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let mut body = respond(&provider, send(answer).await).await;

        assert_eq!(data(&mut body).await, "hello");

        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_nothing_is_a_success_at_once() {
        let provider = with_a_strike();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let _unread = respond(&provider, send(answer).await).await;
        assert_eq!(strikes(&provider), 0);
    }

    /// Scenario 40.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_cut_off_is_a_failure() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let provider = with_a_strike();
            let mut body = respond(&provider, send(answer).await).await;

            assert_eq!(data(&mut body).await, "hello");
            let error = body.frame().await.unwrap().unwrap_err();

            assert!(error.downcast::<hyper::Error>().is_ok());
            assert_eq!(strikes(&provider), 2);
        }
    }

    /// The body of what a server says that then hangs up.
    async fn send(answer: &'static str) -> Incoming {
        let (client, mut server) = duplex(1024);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            assert_ne!(server.read(&mut request).await.unwrap(), 0);
            server.write_all(answer.as_bytes()).await.unwrap();
        });
        let (mut client, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::new(Empty::<Bytes>::new());
        client.send_request(request).await.unwrap().into_body()
    }
}

mod by_itself {
    use super::*;

    #[test]
    fn is_as_mobile_as_its_inner_body() {
        fn is_mobile<T: Send + Sync + Unpin>() {}
        is_mobile::<HealthBody<Full<Bytes>>>();
    }

    #[test]
    fn gives_its_inner_body_back() {
        let mut body = HealthBody::from(String::from("text"));
        assert_eq!(body.get_ref(), "text");
        body.get_mut().push('s');
        assert_eq!(body.into_inner(), "texts");
        assert_eq!(HealthBody::<String>::default().into_inner(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn taken_apart_before_its_end_says_nothing() {
        let provider = with_a_strike();
        let body = respond(&provider, full("all of it")).await;

        let inner = body.into_inner();

        assert_eq!(inner.collect().await.unwrap().to_bytes(), "all of it");
        assert_eq!(strikes(&provider), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn debug_shows_whose_verdict_is_to_come() {
        let provider = with_a_strike();
        let mut body = respond(&provider, full("text")).await;
        assert!(format!("{body:?}").contains("groq"), "{body:?}");

        data(&mut body).await;
        assert!(!format!("{body:?}").contains("groq"), "{body:?}");
    }
}

/// A provider that trips at its third failure, and has one.
fn with_a_strike() -> Provider {
    struck(Trip::consecutive(3))
}

fn struck(trip: Trip) -> Provider {
    let provider = tripping_at(trip);
    provider.mark_unhealthy("a strike");
    provider
}

fn tripping_at(trip: Trip) -> Provider {
    HealthCache::new(Policy::new().trip(trip.within(Duration::MAX))).provider("groq")
}

fn strikes(provider: &Provider) -> u32 {
    provider.health().consecutive_failures
}

fn open(provider: &Provider) {
    provider.mark_unhealthy("connection refused");
    provider.mark_unhealthy("connection refused");
    assert_eq!(provider.health().cause, Some(Cause::Failures));
}

/// An answer of `provider` that is still being sent.
async fn stream(provider: &Provider) -> (Upstream, Stream) {
    let (upstream, channel) = Channel::new(8);
    (upstream, respond(provider, channel).await)
}

async fn respond<B: Body>(provider: &Provider, body: B) -> HealthBody<B> {
    try_respond(provider, body).await.unwrap()
}

/// The body of a 200 of `provider`, as its caller gets it.
async fn try_respond<B: Body>(provider: &Provider, body: B) -> Result<HealthBody<B>, BoxError> {
    call(&HealthLayer::http(provider.clone()), body).await
}

async fn call<B: Body>(
    layer: &HealthLayer<StatusClassifier>,
    body: B,
) -> Result<HealthBody<B>, BoxError> {
    let mut body = Some(body);
    let server = service_fn(|()| ready(Ok::<_, BoxError>(Response::new(body.take().unwrap()))));
    let response = layer.layer(server).oneshot(()).await?;
    Ok(response.into_body())
}

async fn data<B>(body: &mut HealthBody<B>) -> Bytes
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let frame: Frame<Bytes> = body.frame().await.unwrap().unwrap();
    frame.into_data().unwrap()
}

fn full(text: &'static str) -> Full<Bytes> {
    Full::from(text)
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer")
}

fn checksum() -> HeaderMap {
    HeaderMap::from_iter([(
        "x-checksum".parse().unwrap(),
        HeaderValue::from_static("1234"),
    )])
}
