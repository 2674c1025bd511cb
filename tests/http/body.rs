//! The outcome of a response is recorded at the end of its body. The body passes through unchanged.

use std::{
    collections::VecDeque,
    future::ready,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{
    BodyExt, Empty, Full,
    channel::{Channel, Sender},
};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    task::JoinSet,
    time::{advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    BoxError, Cause, Classify, HealthCache, HealthLayer, Outcome, Provider, State, Trip,
    error::{CircuitOpen, find},
    http::{HealthBody, IdleBody, JudgeBody, StatusClassifier, StreamVerdict},
};

use crate::policy_without_jitter;

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
        assert!(find::<CircuitOpen>(&*refused.unwrap_err()).is_some());
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

mod dropped {
    use super::*;

    /// Clients of language models stop reading at `[DONE]`.
    #[tokio::test(start_paused = true)]
    async fn streams_read_to_their_last_event_close_a_half_open_breaker() {
        let provider = HealthCache::default().provider("groq");
        open(&provider);
        advance(MINUTE).await;

        for trials in 1..=3 {
            assert_eq!(provider.health().state, State::HalfOpen, "trial {trials}");
            read_to_done(&provider).await;
        }

        assert_eq!(provider.health().state, State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_such_streams_between_them_are_not_in_a_row() {
        let provider = HealthCache::default().provider("groq");
        for _ in 0..2 {
            provider.admit().unwrap().failure("503");
            for _ in 0..3 {
                read_to_done(&provider).await;
            }
            assert_eq!(strikes(&provider), 0);
        }
    }

    /// SDKs also stop reading at an error event.
    #[tokio::test(start_paused = true)]
    async fn one_such_stream_is_no_success() {
        let provider = with_a_strike();
        read_to_done(&provider).await;
        assert_eq!(strikes(&provider), 1);
    }

    /// Scenario 45.
    #[tokio::test(start_paused = true)]
    async fn by_a_reader_who_waits_for_a_frame_it_says_nothing() {
        let provider = with_a_strike();

        for chunks in [0, 1, 2, 0, 1] {
            let (mut upstream, mut body) = stream(&provider).await;
            for _ in 0..chunks {
                upstream.send_data("token".into()).await.unwrap();
                data(&mut body).await;
            }
            assert_pending!(task::spawn(body.frame()).poll());
            advance(DAY).await;
            drop(body);
        }

        assert_eq!(strikes(&provider), 1);
        assert_eq!(provider.health().last_error.unwrap(), "a strike");
    }

    #[tokio::test(start_paused = true)]
    async fn by_a_reader_who_asked_for_no_frame_it_says_nothing() {
        let provider = with_a_strike();
        for _ in 0..5 {
            let (mut upstream, body) = stream(&provider).await;
            upstream.send_data("token".into()).await.unwrap();
            drop(body);
        }
        assert_eq!(strikes(&provider), 1);
    }

    /// Rule 11.
    #[tokio::test(start_paused = true)]
    async fn after_too_long_it_is_a_failure_where_cancelled_calls_are_and_no_answer_has_begun() {
        let provider = tripping_at(Trip::consecutive(3).cancelled_after(10 * SECOND));

        for (millis, strikes_after) in [(9_999, 0), (10_000, 1)] {
            let (_upstream, mut body) = stream(&provider).await;
            assert_pending!(task::spawn(body.frame()).poll());
            advance(Duration::from_millis(millis)).await;
            drop(body);
            assert_eq!(strikes(&provider), strikes_after);
        }
    }

    /// Rule 11.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_flows_is_no_failure_where_late_cancellations_are() {
        let provider = tripping_at(Trip::consecutive(3).cancelled_after(10 * SECOND));

        for is_waiting in [true, false, true] {
            let (mut upstream, mut body) = stream(&provider).await;
            for _ in 0..30 {
                upstream.send_data("token".into()).await.unwrap();
                data(&mut body).await;
                advance(SECOND).await;
            }
            if is_waiting {
                assert_pending!(task::spawn(body.frame()).poll());
            }
            drop(body);
        }

        assert_eq!(strikes(&provider), 0);
    }

    /// Reads a stream to `[DONE]` while the server keeps it open.
    async fn read_to_done(provider: &Provider) {
        let (mut upstream, mut body) = stream(provider).await;
        for event in ["data: hi\n\n", "data: [DONE]\n\n"] {
            upstream.send_data(event.into()).await.unwrap();
            assert_eq!(data(&mut body).await, event);
        }
    }
}

mod announced {
    use super::*;

    /// Proxies reset HTTP/2 streams without an error, even if the upstream failed.
    #[tokio::test(start_paused = true)]
    async fn fewer_bytes_than_announced_are_a_failure() {
        for sent in [
            &[][..],
            &["ten bytes."],
            &["ten bytes.", "89 bytes".repeat(11).leak(), "!"],
        ] {
            let provider = with_a_strike();
            let body = respond(&provider, Announced::new(100, sent)).await;
            let read = body.collect().await.unwrap().to_bytes();
            assert_eq!(read, sent.concat(), "and the reader gets what came");
            assert_eq!(strikes(&provider), 2);
            assert_eq!(provider.health().last_error.unwrap(), "incomplete");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_or_more_are_a_success() {
        for announced in [0, 9, 10] {
            let provider = with_a_strike();
            let body = respond(&provider, Announced::new(announced, &["ten", " bytes."])).await;
            body.collect().await.unwrap();
            assert_eq!(strikes(&provider), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_do_not_make_up_for_what_is_missing() {
        let provider = with_a_strike();
        let (mut upstream, channel) = Channel::<Bytes, io::Error>::new(1);
        let announced = Announced::new(100, &["ten bytes."]);
        let mut body = respond(&provider, Then(announced, channel)).await;
        data(&mut body).await;
        upstream.send_trailers(checksum()).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert_eq!(strikes(&provider), 2);
    }

    /// RFC 9110 §15.3.5, §15.4.5: the announced length is that of another response.
    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_no_content_misses_none() {
        for status in [101, 204, 205, 304] {
            let provider = with_a_strike();
            let body = Announced::new(100, &[]);
            let response = Response::builder().status(status).body(body).unwrap();
            let permit = provider.admit().unwrap();
            let classifier = StatusClassifier::new().judge_sse(|_| StreamVerdict::Continue);
            drop(classifier.classify(Ok::<_, BoxError>(response), permit));
            assert_eq!(strikes(&provider), 0, "{status}");
        }
    }

    /// A body that announces `length` bytes, however many are left.
    struct Announced {
        length: u64,
        left: VecDeque<&'static str>,
    }

    impl Announced {
        fn new(length: u64, frames: &[&'static str]) -> Self {
            let left = frames.iter().copied().collect();
            Self { length, left }
        }
    }

    impl Body for Announced {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let next = self.left.pop_front();
            Poll::Ready(next.map(|data| Ok(Frame::data(data.into()))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.length)
        }
    }

    /// Two bodies in sequence, with the size hint of the first.
    struct Then(Announced, Channel<Bytes, io::Error>);

    impl Body for Then {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            match Pin::new(&mut self.0).poll_frame(cx) {
                Poll::Ready(None) => Pin::new(&mut self.1).poll_frame(cx),
                next => next,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.0.size_hint()
        }
    }
}

mod judged {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_event_is_a_success_before_the_reader_asks_for_more() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = events(&provider, &[]);

        upstream
            .send_data("data: hi\n\ndata: [DO".into())
            .await
            .unwrap();
        data(&mut body).await;
        assert_eq!(strikes(&provider), 1);
        upstream.send_data("NE]\n\n".into()).await.unwrap();
        assert_eq!(data(&mut body).await, "NE]\n\n");
        assert_eq!(strikes(&provider), 0);

        // A proxy polls again, and then its own caller hangs up.
        assert_pending!(task::spawn(body.frame()).poll());
        drop(body);
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_event_closes_a_half_open_breaker() {
        let provider = HealthCache::default().provider("groq");
        open(&provider);
        advance(MINUTE).await;
        let (mut upstream, mut body) = events(&provider, &[]);
        upstream.send_data("data: [DONE]\n\n".into()).await.unwrap();
        data(&mut body).await;
        assert_eq!(provider.health().state, State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_event_after_the_first_token_is_a_failure_at_once() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = events(&provider, &[]);
        upstream.send_data("data: hi\n\n".into()).await.unwrap();
        data(&mut body).await;
        let error = "event: error\ndata: overloaded\n\n";
        upstream.send_data(error.into()).await.unwrap();
        assert_eq!(data(&mut body).await, error);
        assert_eq!(strikes(&provider), 2);
        assert_eq!(provider.health().last_error.unwrap(), "overloaded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_in_an_event_opens_without_a_strike() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = events(&provider, &[]);
        let event = "event: throttle\ndata: 7\n\n";
        upstream.send_data(event.into()).await.unwrap();
        data(&mut body).await;
        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Throttled));
        assert_eq!(health.retry_in, Some(7 * SECOND));
        assert_eq!(health.consecutive_failures, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_without_the_last_event_is_a_failure() {
        for sent in ["", "data: hi\n\n", "data: hi\n\ndata: [DO"] {
            let provider = with_a_strike();
            let (mut upstream, body) = events(&provider, &[]);
            upstream.send_data(sent.into()).await.unwrap();
            drop(upstream);
            assert_eq!(body.collect().await.unwrap().to_bytes(), sent);
            assert_eq!(strikes(&provider), 2, "{sent:?}");
            assert_eq!(provider.health().last_error.unwrap(), "incomplete");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_event_that_no_blank_line_follows_is_judged_at_the_end() {
        for (last, strikes_after) in [
            ("data: [DONE]", 0),
            ("data: [DONE]\n", 0),
            ("event: error\ndata: overloaded\n", 2),
        ] {
            let provider = with_a_strike();
            let (mut upstream, body) = events(&provider, &[]);
            upstream.send_data("data: hi\n\n".into()).await.unwrap();
            upstream.send_data(last.into()).await.unwrap();
            drop(upstream);
            body.collect().await.unwrap();
            assert_eq!(strikes(&provider), strikes_after, "{last:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_plain_stream_of_events_is_judged_by_its_end() {
        for headers in [
            &[("content-type", "application/json")][..],
            &[("content-encoding", "gzip")],
        ] {
            let provider = with_a_strike();
            let (mut upstream, body) = events(&provider, headers);
            let error = "event: error\ndata: overloaded\n\n";
            upstream.send_data(error.into()).await.unwrap();
            drop(upstream);
            body.collect().await.unwrap();
            assert_eq!(strikes(&provider), 0, "{headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn content_that_is_encoded_as_it_is_is_read() {
        let provider = with_a_strike();
        let headers = [("content-encoding", "identity")];
        let (mut upstream, mut body) = events(&provider, &headers);
        upstream.send_data("data: [DONE]\n\n".into()).await.unwrap();
        data(&mut body).await;
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_head_is_a_success_and_an_empty_stream_is_not() {
        for (length, strikes_after) in [(None, 0), (Some("1234"), 0), (Some("0"), 2)] {
            let provider = with_a_strike();
            let mut response = event_stream(Empty::<Bytes>::new());
            if let Some(length) = length {
                let length = HeaderValue::from_static(length);
                response.headers_mut().insert("content-length", length);
            }
            let permit = provider.admit().unwrap();
            drop(classifier().classify(Ok::<_, BoxError>(response), permit));
            assert_eq!(strikes(&provider), strikes_after, "{length:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_breaks_before_its_last_event_is_a_failure_with_its_error() {
        let provider = with_a_strike();
        let (mut upstream, mut body) = events(&provider, &[]);
        upstream.send_data("data: hi\n\n".into()).await.unwrap();
        upstream.abort(reset());
        data(&mut body).await;
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(strikes(&provider), 2);
        assert_eq!(provider.health().last_error.unwrap(), "reset by peer");
    }

    #[tokio::test(start_paused = true)]
    async fn data_in_several_pieces_is_read_whole() {
        let provider = with_a_strike();
        let mut rope: Box<dyn Buf + Send + Sync> = Box::new(Bytes::new());
        for piece in "data: [DONE]\n\n".repeat(4).into_bytes().chunks(1) {
            rope = Box::new(rope.chain(Bytes::copy_from_slice(piece)));
        }
        let response = event_stream(Full::new(rope));
        let permit = provider.admit().unwrap();
        let response = classifier().classify(Ok::<_, BoxError>(response), permit);
        let mut body = response.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(strikes(&provider), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_of_any_kind_are_judged_by_their_frames_and_trailers() {
        for (sent, trailers, strikes_after) in [
            ("{}\n{\"done\":true}\n", None, 0),
            ("{}\n{\"error\":\"x\"}\n", None, 2),
            ("{}\n", None, 2),
            ("{}\n", Some(checksum()), 1),
        ] {
            let provider = with_a_strike();
            let (mut upstream, channel) = Channel::<Bytes, io::Error>::new(8);
            let classifier = StatusClassifier::new()
                .judge_body(|_, headers| headers.contains_key("x-other").then_some(Lines))
                .judge_body(|status, _| (status == 200).then_some(Lines));
            let layer = HealthLayer::new(provider.clone()).classify(classifier);
            let body = call(&layer, channel).await.unwrap();
            upstream.send_data(sent.into()).await.unwrap();
            if let Some(trailers) = trailers {
                upstream.send_trailers(trailers).await.unwrap();
            }
            drop(upstream);
            body.collect().await.unwrap();
            assert_eq!(strikes(&provider), strikes_after, "{sent:?}");
        }
    }

    /// Trailers are neutral. An end without trailers is a failure.
    struct Lines;

    impl JudgeBody for Lines {
        fn frame(&mut self, data: &[u8]) -> StreamVerdict {
            let text = std::str::from_utf8(data).unwrap();
            if text.contains("error") {
                StreamVerdict::broken("error")
            } else if text.contains("done") {
                StreamVerdict::Done
            } else {
                StreamVerdict::Continue
            }
        }

        fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
            match trailers {
                Some(_) => Outcome::Neutral,
                None => Outcome::failure("incomplete"),
            }
        }
    }

    fn classifier() -> StatusClassifier {
        StatusClassifier::new().judge_sse(|event| match (event.event, event.data) {
            ("error", data) => StreamVerdict::Broken(data.to_owned().into()),
            ("throttle", data) => StreamVerdict::Throttled {
                retry_after: data.parse().map(Duration::from_secs).ok(),
                reason: "slow down".into(),
            },
            (_, "[DONE]") => StreamVerdict::Done,
            _ => StreamVerdict::Continue,
        })
    }

    /// A judged event stream with these additional headers.
    fn events(provider: &Provider, headers: &[(&'static str, &'static str)]) -> (Upstream, Stream) {
        let (upstream, channel) = Channel::new(8);
        let mut response = event_stream(channel);
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(*name, value);
        }
        let permit = provider.admit().unwrap();
        let response = classifier().classify(Ok::<_, BoxError>(response), permit);
        (upstream, response.unwrap().into_body())
    }
}

mod half_open {
    use super::*;

    /// Comments keep a connection alive even if the provider is overloaded.
    #[tokio::test(start_paused = true)]
    async fn a_trial_gives_its_slot_back_at_the_first_event_of_an_event_stream() {
        let provider = half_open();
        let (mut upstream, channel) = Channel::<_, io::Error>::new(8);
        let response = event_stream(channel);
        let permit = provider.admit().unwrap();
        let response = StatusClassifier::new().classify(Ok::<_, BoxError>(response), permit);
        let mut body = response.unwrap().into_body();

        for piece in [": keep-alive\n\n", "\n\n", "event: ping\n\n", "data: hi\n"] {
            upstream.send_data(piece.into()).await.unwrap();
            data(&mut body).await;
            assert!(provider.admit().is_err(), "{piece:?}");
        }
        upstream.send_data("\n".into()).await.unwrap();
        data(&mut body).await;

        assert_eq!(provider.health().state, State::HalfOpen);
        assert!(provider.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_gives_its_slot_back_at_the_first_frame_of_a_compressed_stream() {
        let provider = half_open();
        let (mut upstream, channel) = Channel::<_, io::Error>::new(8);
        let mut response = event_stream(channel);
        let coding = HeaderValue::from_static("gzip");
        response.headers_mut().insert("content-encoding", coding);
        let permit = provider.admit().unwrap();
        let response = StatusClassifier::new().classify(Ok::<_, BoxError>(response), permit);
        let mut body = response.unwrap().into_body();

        upstream.send_data("\u{1f}".into()).await.unwrap();
        data(&mut body).await;

        assert!(provider.admit().is_ok());
    }

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
        assert_eq!(
            provider.health().last_error.unwrap(),
            "slow: no answer within 1s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_does_not_begin_is_slow_while_its_reader_waits() {
        let provider = struck(Trip::consecutive(2).slow_call(SECOND));
        let (mut upstream, mut body) = stream(&provider).await;
        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());

        sleep(SECOND).await;
        assert!(reader.is_woken());
        assert_pending!(reader.poll());
        assert_eq!(provider.health().state, State::Open);

        upstream.send_data("token".into()).await.unwrap();
        assert_ready!(reader.poll()).unwrap().unwrap();
        drop(reader);
        drop(upstream);
        assert!(body.frame().await.is_none());
        assert_eq!(provider.health().state, State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_judged_once_though_it_is_slow_and_breaks() {
        let provider = struck(Trip::consecutive(4).slow_call(SECOND));
        let (upstream, mut body) = stream(&provider).await;
        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());
        sleep(SECOND).await;
        assert_pending!(reader.poll());
        drop(reader);
        upstream.abort(reset());
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(strikes(&provider), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_the_caller_has_is_not_released() {
        let provider = struck(Trip::consecutive(2));
        provider.set_policy(provider.policy().release_on_open(true));
        let (mut upstream, mut body) = stream(&provider).await;
        let mut reader = task::spawn(body.frame());
        assert_pending!(reader.poll());

        provider.mark_unhealthy("down");
        assert_eq!(provider.health().state, State::Open);
        assert_pending!(reader.poll());
        upstream.send_data("token".into()).await.unwrap();
        assert_ready!(reader.poll()).unwrap().unwrap();
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

        assert_eq!(find::<IdleBody>(&*error).unwrap().limit, LIMIT);
        assert_eq!(strikes(&provider), 2);
        assert_eq!(
            provider.health().last_error.unwrap(),
            "timeout: body idle for longer than 30s"
        );
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

        // After a long absence the reader finds no data: the silence begins now.
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

    /// Returns the response body of a server that sends `answer` and then hangs up.
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

/// A provider that trips at the third failure and has one already.
fn with_a_strike() -> Provider {
    struck(Trip::consecutive(3))
}

fn struck(trip: Trip) -> Provider {
    let provider = tripping_at(trip);
    provider.mark_unhealthy("a strike");
    provider
}

fn tripping_at(trip: Trip) -> Provider {
    HealthCache::new(policy_without_jitter().trip(trip.within(Duration::MAX))).provider("groq")
}

fn strikes(provider: &Provider) -> u32 {
    provider.health().consecutive_failures
}

fn open(provider: &Provider) {
    provider.mark_unhealthy("connection refused");
    provider.mark_unhealthy("connection refused");
    assert_eq!(provider.health().cause, Some(Cause::Failures));
}

/// A response of `provider` whose body is still being sent.
async fn stream(provider: &Provider) -> (Upstream, Stream) {
    let (upstream, channel) = Channel::new(8);
    (upstream, respond(provider, channel).await)
}

async fn respond<B: Body>(provider: &Provider, body: B) -> HealthBody<B> {
    try_respond(provider, body).await.unwrap()
}

/// The body of a 200 of `provider`, as its caller receives it.
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

fn event_stream<B>(body: B) -> Response<B> {
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(body).unwrap()
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
