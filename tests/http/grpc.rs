//! gRPC calls are judged by their `grpc-status`, in the headers or in the trailers.

use std::{convert::Infallible, future::ready, io, sync::Mutex, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use http_body_util::{
    BodyExt, Empty, Full,
    channel::{Channel, Sender},
};
use hyper::{body::Incoming, client::conn::http2, server, service};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::duplex, time::advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_health::{
    Advance, BoxError, Cause, Classify, FallbackChain, HealthCache, HealthLayer, Outcome, Policy,
    Provider, Reason, ServedBy, State, Trip,
    error::{NoHealthyProvider, find},
    http::{GrpcClassifier, HealthBody, IdleBody, StatusClassifier},
};

use crate::{cache_without_jitter, policy_without_jitter};

const SECOND: Duration = Duration::from_secs(1);

/// Headers or trailers.
type Fields<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug, PartialEq)]
enum Health {
    Success,
    Neutral,
    Throttled,
    Failure(Reason),
}

mod code {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn are_read_from_the_trailers_at_the_end_of_the_body() {
        for (code, expected) in codes() {
            let provider = with_a_strike();
            let body = with_trailers(&[("grpc-status", code)]);
            let mut body = respond(&provider, Response::new(body)).await;

            body.frame().await.unwrap().unwrap();
            assert_eq!(health(&provider), Health::Neutral, "no verdict yet");

            let last = body.frame().await.unwrap().unwrap();
            assert_eq!(last.into_trailers().unwrap()["grpc-status"], code);
            assert_eq!(health(&provider), expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn are_read_from_the_headers_of_a_response_with_nothing_else() {
        for (code, expected) in codes() {
            let provider = with_a_strike();
            let response = empty(200, &[("grpc-status", code)]);

            let _unread = respond(&provider, response).await;

            assert_eq!(health(&provider), expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_nobodys_making_are_unknown() {
        for code in ["17", "4294967296", "-1", "+0", "", "OK", "14 UNAVAILABLE"] {
            let provider = with_a_strike();
            let _unread = respond(&provider, empty(200, &[("grpc-status", code)])).await;
            assert_eq!(health(&provider), failure("UNKNOWN"), "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn go_before_the_http_status() {
        for (code, expected) in codes() {
            let provider = with_a_strike();
            let _unread = respond(&provider, empty(503, &[("grpc-status", code)])).await;
            assert_eq!(health(&provider), expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_headers_are_the_only_verdict() {
        let provider = with_a_strike();
        let (upstream, channel) = Channel::<Bytes, _>::new(1);
        let response = response(200, &[("grpc-status", "0")], channel);

        let mut body = respond(&provider, response).await;
        upstream.abort(io::Error::other("reset by peer"));
        body.frame().await.unwrap().unwrap_err();

        assert_eq!(health(&provider), Health::Success);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_not_found_close_a_half_open_provider() {
    let provider = HealthCache::default().provider("search");
    provider.mark_unhealthy("down");
    provider.mark_unhealthy("down");
    advance(60 * SECOND).await;
    assert_eq!(provider.health().state, State::HalfOpen);
    for _ in 0..3 {
        let _unread = respond(&provider, empty(200, &[("grpc-status", "5")])).await;
    }
    assert_eq!(provider.health().state, State::Closed);
}

mod without_a_code {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_ends_is_a_failure() {
        let provider = with_a_strike();
        let (upstream, mut body) = stream(&provider).await;
        drop(upstream);
        assert!(body.frame().await.is_none());
        assert_eq!(health(&provider), failure("no grpc-status"));
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_are_a_failure() {
        let provider = with_a_strike();
        let body = with_trailers(&[("x-checksum", "1234")]);
        let body = respond(&provider, Response::new(body)).await;
        body.collect().await.unwrap();
        assert_eq!(health(&provider), failure("no grpc-status"));
    }

    /// RFC 9110 §6.4.1: such a response has no content, even if it has a body here.
    #[tokio::test(start_paused = true)]
    async fn a_status_without_content_is_a_failure_at_once_and_the_chain_goes_on() {
        for status in [204, 205, 304] {
            let response = response(status, &[], with_trailers(&[("grpc-status", "0")]));
            assert!(
                GrpcClassifier::new().advance(Ok(&response)).is_some(),
                "{status}"
            );

            let provider = with_a_strike();
            let _unread = respond(&provider, response).await;
            assert_eq!(health(&provider), failure("no grpc-status"), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_200_is_a_failure_at_once() {
        let provider = with_a_strike();
        let _unread = respond(&provider, empty(200, &[])).await;
        assert_eq!(health(&provider), failure("no grpc-status"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_is_a_failure_by_its_error() {
        let provider = with_a_strike();
        let (upstream, mut body) = stream(&provider).await;
        upstream.abort(io::Error::other("reset by peer"));
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(health(&provider), failure("reset by peer"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_dropped_says_nothing() {
        let provider = with_a_strike();
        let (_upstream, body) = stream(&provider).await;
        drop(body);
        assert_eq!(health(&provider), Health::Neutral);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_http_is_judged_by_its_status() {
        for (status, expected) in [
            (400, Health::Neutral),
            (401, Health::Neutral),
            (404, Health::Neutral),
            (429, Health::Throttled),
            (502, failure("502")),
            (503, failure("503")),
        ] {
            let provider = with_a_strike();
            let _unread = respond(&provider, empty(status, &[])).await;
            assert_eq!(health(&provider), expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_http_is_judged_by_the_table_that_was_given() {
        let provider = with_a_strike();
        let classifier = GrpcClassifier::new().http(StatusClassifier::new().neutral_on([502]));
        let permit = provider.admit().unwrap();

        let response = classifier.classify(Ok::<_, BoxError>(empty(502, &[])), permit);

        assert_eq!(response.unwrap().status(), 502);
        assert_eq!(health(&provider), Health::Neutral);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_a_failure_with_its_text() {
        let provider = with_a_strike();
        let refusing = service_fn(|()| ready(Err::<Response<String>, _>("connection refused")));

        let layer = HealthLayer::grpc(provider.clone());
        let error = layer.layer(refusing).oneshot(()).await.unwrap_err();

        assert_eq!(error.to_string(), "connection refused");
        assert_eq!(health(&provider), failure("connection refused"));
    }
}

mod waits {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pushback_is_how_long_a_throttled_provider_is_left_alone() {
        for (pushback, wait) in [
            ("7000", 7 * SECOND),
            ("1", Duration::from_millis(1)),
            ("2147483647", Duration::from_secs(60 * 60)),
        ] {
            let provider = exhausted(&[("grpc-retry-pushback-ms", pushback)]).await;
            assert_eq!(health(&provider), Health::Throttled);
            assert_eq!(provider.health().retry_in, Some(wait), "{pushback}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn delay_in_the_details_is_how_long_a_throttled_provider_is_left_alone() {
        for encoded in [STANDARD, STANDARD_NO_PAD].map(|it| it.encode(retry_info(120))) {
            let provider = exhausted(&[("grpc-status-details-bin", &encoded)]).await;
            assert_eq!(health(&provider), Health::Throttled);
            assert_eq!(provider.health().retry_in, Some(120 * SECOND), "{encoded}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longer_of_the_two_counts() {
        for (pushback, wait) in [("130000", 130 * SECOND), ("7000", 120 * SECOND)] {
            let details = STANDARD_NO_PAD.encode(retry_info(120));
            let provider = exhausted(&[
                ("grpc-retry-pushback-ms", pushback),
                ("grpc-status-details-bin", &details),
            ])
            .await;
            assert_eq!(provider.health().retry_in, Some(wait), "{pushback}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pushback_that_is_zero_or_negative_or_no_number_names_none() {
        for pushback in ["0", "-1", "+7000", "", "soon", "7s", "1.5", "99999999999"] {
            let provider = exhausted(&[("grpc-retry-pushback-ms", pushback)]).await;
            let expected = failure("RESOURCE_EXHAUSTED");
            assert_eq!(health(&provider), expected, "{pushback:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn details_that_are_cut_or_malformed_or_of_another_type_name_none() {
        let whole = retry_info(120);
        let of_another_type = String::from_utf8_lossy(&whole).replace("RetryInfo", "ErrorInfo");
        let malformed = (0..whole.len())
            .map(|length| whole[..length].to_vec())
            .chain([retry_info(0), of_another_type.into_bytes()])
            .map(|bytes| STANDARD.encode(bytes))
            .chain(["!".to_owned(), "AA=A".to_owned()]);
        for encoded in malformed {
            let provider = exhausted(&[("grpc-status-details-bin", &encoded)]).await;
            assert_eq!(
                health(&provider),
                failure("RESOURCE_EXHAUSTED"),
                "{encoded}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_failure_that_trips_is_the_least_time_open() {
        let details = STANDARD.encode(retry_info(120));
        for named in [
            ("grpc-retry-pushback-ms", "120000"),
            ("grpc-status-details-bin", &*details),
        ] {
            let provider = cache_without_jitter().provider("search");
            for _ in 0..2 {
                let unavailable = empty(200, &[("grpc-status", "14"), named]);
                let _unread = respond(&provider, unavailable).await;
            }
            assert_eq!(provider.health().cause, Some(Cause::Failures));
            assert_eq!(provider.health().retry_in, Some(120 * SECOND));
        }
    }

    /// A provider after a `RESOURCE_EXHAUSTED` with these additional trailers.
    async fn exhausted(named: Fields<'_>) -> Provider {
        let provider = with_a_strike();
        let trailers = [&[("grpc-status", "8")], named].concat();
        let body = respond(&provider, Response::new(with_trailers(&trailers))).await;
        body.collect().await.unwrap();
        provider
    }

    /// A `google.rpc.Status` with a code, a message, and a `RetryInfo` of this delay.
    fn retry_info(seconds: u8) -> Vec<u8> {
        let delay = [0x08, seconds];
        let info = field(1, &delay);
        let url = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
        let detail = field(3, &[url, field(2, &info)].concat());
        [vec![0x08, 8], field(2, b"slow down"), detail].concat()
    }

    /// A protobuf field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }
}

#[tokio::test(start_paused = true)]
async fn message_that_is_too_large_says_nothing_against_the_provider() {
    for text in [
        "grpc: received message larger than max (5000000 vs. 4194304)",
        "trying to send message larger than max (5000000 vs. 4194304)",
        "grpc: received message after decompression larger than max 4194304",
        "CLIENT: Received message larger than max (5308389 vs. 4194304)",
        "SERVER: Sent message larger than max (5308389 vs. 4194304)",
        "gRPC message exceeds maximum size 4194304: 5000000",
        "Decompressed gRPC message exceeds maximum size 4194304",
        "message too large 5000000 , max 4194304",
        "Received message exceeds the maximum configured message size.",
        "message size 5000000 is larger than configured max 4194304",
        "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        "received%20message%20larger%20than%20max%20%285%20vs.%204%29",
        "Received message larger than max%2",
    ] {
        let provider =
            HealthCache::new(Policy::new().trip(Trip::consecutive(1))).provider("search");
        let too_large = [("grpc-status", "8"), ("grpc-message", text)];
        let _unread = respond(&provider, empty(200, &too_large)).await;
        assert!(provider.is_healthy(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_other_message_of_exhaustion_is_a_failure() {
    for text in [
        "Quota exceeded for quota metric 'Requests'",
        "",
        "%",
        "%zz",
        "%ff",
    ] {
        let provider = with_a_strike();
        let exhausted = [("grpc-status", "8"), ("grpc-message", text)];
        let _unread = respond(&provider, empty(200, &exhausted)).await;
        assert_eq!(health(&provider), failure("RESOURCE_EXHAUSTED"), "{text}");
    }
}

mod changed {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn codes_are_judged_as_they_are_set() {
        let changed = || {
            GrpcClassifier::new()
                .success_on([5])
                .failure_on([3, 8])
                .throttled_on([14])
                .neutral_on([13])
                .answered_on([4])
        };
        for (code, expected) in [
            ("5", Health::Success),
            ("3", failure("INVALID_ARGUMENT")),
            ("8", failure("RESOURCE_EXHAUSTED")),
            ("14", Health::Throttled),
            ("13", Health::Neutral),
            ("4", Health::Neutral),
            ("15", failure("DATA_LOSS")),
        ] {
            assert_eq!(judged(changed(), &[("grpc-status", code)]).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fatal_code_opens_at_once() {
        let provider = with_a_strike();
        let classifier = GrpcClassifier::new().fatal_on([16]);
        let revoked = empty(200, &[("grpc-status", "16")]);
        let permit = provider.admit().unwrap();
        classifier
            .classify(Ok::<_, BoxError>(revoked), permit)
            .unwrap();
        assert!(!provider.is_healthy());
        assert_eq!(provider.health().last_error.unwrap(), "UNAUTHENTICATED");
    }

    #[tokio::test(start_paused = true)]
    async fn closure_is_asked_before_the_table() {
        let classifier = || {
            GrpcClassifier::new()
                .failure_on([9])
                .outcome_with(|code, fields| {
                    let is_calm = fields.get("x-calm")? == "yes";
                    is_calm.then(|| Outcome::failure(format!("calm {code}")))
                })
        };
        let calm = [("grpc-status", "0"), ("x-calm", "yes")];
        assert_eq!(judged(classifier(), &calm).await, failure("calm 0"));
        let no_code = [("grpc-status", "calm"), ("x-calm", "yes")];
        assert_eq!(judged(classifier(), &no_code).await, failure("calm 2"));
        let no_answer = [("grpc-status", "9"), ("x-calm", "no")];
        let by_table = failure("FAILED_PRECONDITION");
        assert_eq!(judged(classifier(), &no_answer).await, by_table);
    }

    #[tokio::test(start_paused = true)]
    async fn chain_goes_on_and_returns_as_it_is_set() {
        let rule = || {
            let rule = GrpcClassifier::new().advance_on([12]).return_on([14]);
            rule.outcome_with(|code, _| (code == 5).then(|| Outcome::failure("away")))
        };
        for (code, expected) in [
            ("12", Some("UNIMPLEMENTED".into())),
            ("14", None),
            ("5", Some("away".into())),
            ("13", Some("INTERNAL".into())),
            ("3", None),
        ] {
            let response = empty(200, &[("grpc-status", code)]);
            let reason: Option<Reason> = rule().advance(Ok(&response));
            assert_eq!(reason, expected, "{code}");
        }
    }

    #[test]
    #[should_panic(
        expected = "`GrpcClassifier::failure_on`: gRPC code must be between 0 and 16, got 17"
    )]
    fn code_that_is_none_panics() {
        let _ = GrpcClassifier::new().failure_on([17]);
    }

    /// The outcome of a response with these trailers.
    async fn judged(classifier: GrpcClassifier, trailers: Fields<'_>) -> Health {
        let provider = with_a_strike();
        let permit = provider.admit().unwrap();
        let response = Response::new(with_trailers(trailers));
        let response = classifier.classify(Ok::<_, BoxError>(response), permit);
        response.unwrap().collect().await.unwrap();
        health(&provider)
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_a_failure_where_a_limit_is_set() {
    let provider = with_a_strike();
    let (_upstream, channel) = Channel::<Bytes>::new(1);
    let classifier = GrpcClassifier::new().http(StatusClassifier::new().idle_timeout(SECOND));
    let permit = provider.admit().unwrap();
    let response = classifier.classify(Ok::<_, BoxError>(Response::new(channel)), permit);
    let mut body = response.unwrap().into_body();
    let mut reader = task::spawn(body.frame());

    assert_pending!(reader.poll());
    advance(SECOND).await;
    let error = assert_ready!(reader.poll()).unwrap().unwrap_err();

    assert!(find::<IdleBody>(&*error).is_some());
    assert_eq!(
        health(&provider),
        failure("timeout: body idle for longer than 1s")
    );
}

mod chain {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn goes_on_where_a_code_without_a_body_speaks_against_the_provider() {
        for (code, health) in codes() {
            let expected = match health {
                Health::Success | Health::Neutral => None,
                Health::Throttled => Some("RESOURCE_EXHAUSTED".into()),
                Health::Failure(reason) => Some(reason),
            };
            let reason = passed_over_for(|| Ok(empty(200, &[("grpc-status", code)]))).await;
            assert_eq!(reason, expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn serves_from_the_next_and_says_so() {
        let cache = HealthCache::default();
        let entry = |id, code| {
            let respond = move |()| ready(Ok::<_, BoxError>(empty(200, &[("grpc-status", code)])));
            HealthLayer::grpc(cache.provider(id)).layer(service_fn(respond))
        };
        let chain = FallbackChain::grpc()
            .entry(cache.provider("first"), entry("first", "14"))
            .entry(cache.provider("second"), entry("second", "0"));

        let response = chain.oneshot(()).await.unwrap();

        assert_eq!(response.headers()["grpc-status"], "0");
        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "second");
        assert_eq!(served_by.attempts[0].reason, "UNAVAILABLE");
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_take_back_a_body_for_the_code_at_its_end() {
        let provider = with_a_strike();
        let layer = HealthLayer::grpc(provider.clone());
        let respond = |()| {
            let body = with_trailers(&[("grpc-status", "14")]);
            ready(Ok::<_, BoxError>(Response::new(body)))
        };
        let chain = FallbackChain::grpc().entry(provider.clone(), layer.layer(service_fn(respond)));

        let response = chain.oneshot(()).await.unwrap();

        assert_eq!(response.collect().await.unwrap().to_bytes(), "message");
        assert_eq!(health(&provider), failure("UNAVAILABLE"));
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_where_a_code_is_missing_and_nothing_else_has_come() {
        let reason = passed_over_for(|| Ok(empty(200, &[]))).await;
        assert_eq!(reason.unwrap(), "no grpc-status");
    }

    #[tokio::test(start_paused = true)]
    async fn goes_by_the_http_status_where_there_is_no_code() {
        for (status, expected) in [
            (400, None),
            (401, None),
            (404, None),
            (429, Some("429".into())),
            (502, Some("502".into())),
            (503, Some("503".into())),
        ] {
            let reason = passed_over_for(|| Ok(empty(status, &[]))).await;
            assert_eq!(reason, expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goes_by_the_http_table_that_was_given() {
        let rule = GrpcClassifier::new().http(StatusClassifier::new().advance_on([404]));
        let provider = with_a_strike();
        let respond = |()| ready(Ok::<_, BoxError>(empty(404, &[])));
        let chain = FallbackChain::new()
            .advance(rule)
            .entry(provider, service_fn(respond));

        let error = chain.oneshot(()).await.unwrap_err();

        let exhausted = find::<NoHealthyProvider>(&*error).unwrap();
        assert_eq!(exhausted.attempts[0].reason, "404");
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_after_an_error() {
        let reason = passed_over_for(|| Err("connection refused".into())).await;
        assert_eq!(reason.unwrap(), "connection refused");
    }

    /// The reason for which a chain tries the next provider after this response; `None` if it does not.
    async fn passed_over_for(
        respond: impl Fn() -> Result<Response<Empty<Bytes>>, BoxError> + Clone,
    ) -> Option<Reason> {
        let provider = with_a_strike();
        let layer = HealthLayer::grpc(provider.clone());
        let server = service_fn(move |()| ready(respond()));
        let chain = FallbackChain::grpc().entry(provider, layer.layer(server));
        let error = chain.oneshot(()).await.err()?;
        let exhausted = find::<NoHealthyProvider>(&*error).unwrap();
        Some(exhausted.attempts[0].reason.clone())
    }
}

mod over_hyper {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_code_comes_after_the_data() {
        for (code, expected) in codes() {
            let provider = with_a_strike();
            let (mut upstream, response) = serve(&[]).await;
            let body = respond(&provider, response).await;

            upstream.send_data("message".into()).await.unwrap();
            upstream
                .send_trailers(fields(&[("grpc-status", code)]))
                .await
                .unwrap();
            let received = body.collect().await.unwrap();

            assert_eq!(received.trailers().unwrap()["grpc-status"], code);
            assert_eq!(received.to_bytes(), "message");
            assert_eq!(health(&provider), expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_code_comes_at_once_where_there_is_no_data() {
        let provider = with_a_strike();
        let (_upstream, response) = serve(&[("grpc-status", "14")]).await;
        let _unread = respond(&provider, response).await;
        assert_eq!(health(&provider), failure("UNAVAILABLE"));
    }

    /// Scenario 36.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_reset_is_a_failure() {
        let provider = with_a_strike();
        let (mut upstream, response) = serve(&[]).await;
        let mut body = respond(&provider, response).await;

        upstream.send_data("message".into()).await.unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        upstream.abort(io::Error::other("the server dies"));
        let error = body.frame().await.unwrap().unwrap_err();

        assert!(error.downcast::<hyper::Error>().is_ok());
        assert_ne!(health(&provider), Health::Neutral);
        assert_eq!(provider.health().consecutive_failures, 2);
    }

    /// A response over HTTP/2, and the sender of its remaining body.
    async fn serve(headers: Fields<'_>) -> (Sender<Bytes, io::Error>, Response<Incoming>) {
        let (upstream, channel) = Channel::new(8);
        let answer = Mutex::new(Some(response(200, headers, channel)));
        let (client, server) = duplex(64 * 1024);
        let service = service::service_fn(move |_| {
            ready(Ok::<_, Infallible>(answer.lock().unwrap().take().unwrap()))
        });
        tokio::spawn(
            server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(server), service),
        );
        let io = TokioIo::new(client);
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::new(Empty::<Bytes>::new());
        (upstream, client.send_request(request).await.unwrap())
    }
}

fn codes() -> [(&'static str, Health); 17] {
    [
        ("0", Health::Success),
        ("1", Health::Neutral),
        ("2", failure("UNKNOWN")),
        ("3", Health::Neutral),
        ("4", failure("DEADLINE_EXCEEDED")),
        ("5", Health::Neutral),
        ("6", Health::Neutral),
        ("7", Health::Neutral),
        ("8", failure("RESOURCE_EXHAUSTED")),
        ("9", Health::Neutral),
        ("10", Health::Neutral),
        ("11", Health::Neutral),
        ("12", Health::Neutral),
        ("13", failure("INTERNAL")),
        ("14", failure("UNAVAILABLE")),
        ("15", failure("DATA_LOSS")),
        ("16", Health::Neutral),
    ]
}

fn failure(reason: &'static str) -> Health {
    Health::Failure(reason.into())
}

/// A provider that trips at the third failure and has one already.
fn with_a_strike() -> Provider {
    let provider =
        HealthCache::new(policy_without_jitter().trip(Trip::consecutive(3))).provider("search");
    provider.mark_unhealthy("a strike");
    provider
}

/// The outcome that a provider recorded after its strike.
fn health(provider: &Provider) -> Health {
    let health = provider.health();
    match (health.cause, health.consecutive_failures) {
        (None, 0) => Health::Success,
        (None, 1) => Health::Neutral,
        (Some(Cause::Throttled), 1) => Health::Throttled,
        (None, 2) => Health::Failure(health.last_error.unwrap()),
        effect => panic!("{effect:?}"),
    }
}

async fn stream(
    provider: &Provider,
) -> (
    Sender<Bytes, io::Error>,
    HealthBody<Channel<Bytes, io::Error>>,
) {
    let (upstream, channel) = Channel::new(8);
    (upstream, respond(provider, Response::new(channel)).await)
}

/// The body of the provider's response, as its caller receives it.
async fn respond<B: Body>(provider: &Provider, response: Response<B>) -> HealthBody<B> {
    let mut response = Some(response);
    let server = service_fn(|()| ready(Ok::<_, BoxError>(response.take().unwrap())));
    let layer = HealthLayer::grpc(provider.clone());
    layer.layer(server).oneshot(()).await.unwrap().into_body()
}

fn empty(status: u16, headers: Fields) -> Response<Empty<Bytes>> {
    response(status, headers, Empty::new())
}

fn response<B>(status: u16, headers: Fields, body: B) -> Response<B> {
    let mut response = Response::builder().status(status).body(body).unwrap();
    *response.headers_mut() = fields(headers);
    response
}

/// A body of one message and these trailers.
fn with_trailers(trailers: Fields) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
    let trailers = Some(Ok(fields(trailers)));
    Full::from("message").with_trailers(ready(trailers))
}

fn fields(fields: Fields) -> HeaderMap {
    let pairs = fields
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
    pairs.collect()
}
