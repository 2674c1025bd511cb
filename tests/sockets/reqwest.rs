//! Reqwest's client, guarded and in chains: feature `reqwest`.

use std::{
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use hyper::body::Frame;
use reqwest::{Body, Client, Method, Request, Response, Url};
use tokio::{net::TcpSocket, time::Instant};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::MapRequest};
use tower_health::{
    BoxError, Cause, Classify, FallbackChain, HealthCache, HealthLayer, Outcome, Provider,
    ServedBy, State,
    error::{self, CircuitOpen, Kind},
    http::{
        ErrorVerdict, IdleBody, PeekError, PeekLayer, ReadErrorsLayer, ReplayError,
        StatusClassifier, StreamVerdict,
    },
};

use crate::{
    pair::{MILLISECOND, SECOND, exhausted, first_token, reqwest_builder, shown},
    server::{Script, Server},
};

mod guarded {
    use super::*;

    #[tokio::test]
    async fn response_stays_as_it_is() {
        let server = Server::start(|_| Script::answer("203 Other", &[("x-key", "1")], "from a"));
        let guarded = HealthLayer::reqwest(provider()).layer(client());

        let url = format!("http://{}/path?query", server.address());
        let response = guarded.oneshot(get(&url)).await.unwrap();

        assert_eq!(response.url().as_str(), url);
        assert_eq!(response.remote_addr(), Some(server.address()));
        assert_eq!(response.status(), 203);
        assert_eq!(response.headers()["x-key"], "1");
        assert_eq!(response.content_length(), Some(6));
        assert_eq!(response.text().await.unwrap(), "from a");
    }

    #[tokio::test]
    async fn trial_succeeds_when_its_body_has_ended_and_not_at_its_head() {
        let server = Server::start(|_| Script::stream().chunk("a").await_cue().last_chunk());
        let provider = provider();
        trip(&provider);
        assert!(provider.grant_trial());
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());

        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(provider.health().state, State::HalfOpen);
        server.cue();
        assert_eq!(response.text().await.unwrap(), "a");
        assert_eq!(provider.health().state, State::Closed);
    }

    #[tokio::test]
    async fn two_500s_open_and_the_next_call_is_refused() {
        let server = Server::start(|_| Script::status("500 Internal Server Error"));
        let provider = provider();
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());

        for failures in 1..=2 {
            let response = guarded.clone().oneshot(get_from(&server)).await.unwrap();
            assert_eq!(response.status(), 500);
            assert_eq!(provider.health().consecutive_failures, failures);
        }
        let refused = guarded.oneshot(get_from(&server)).await.unwrap_err();
        assert!(error::find::<CircuitOpen>(&*refused).is_some());
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn retry_after_of_a_429_is_kept() {
        let server = Server::start(|_| {
            Script::answer("429 Too Many Requests", &[("retry-after", "100")], "")
        });
        let provider = provider();
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());

        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(response.status(), 429);
        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Throttled));
        let wait = health.retry_in.unwrap();
        assert!(wait > 99 * SECOND && wait <= 110 * SECOND, "{wait:?}");
    }

    #[tokio::test]
    async fn statuses_can_be_set() {
        let server = Server::start(|_| Script::status("404 Not Found"));
        let provider = struck();
        let layer = HealthLayer::reqwest(provider.clone())
            .classify(StatusClassifier::new().failure_on([404]));

        let response = layer.layer(client()).oneshot(get_from(&server)).await;
        assert_eq!(response.unwrap().status(), 404);
        assert_eq!(provider.health().state, State::Open);
    }

    #[tokio::test]
    async fn each_host_has_its_breaker() {
        let cache = HealthCache::default();
        let (a, b) = (
            Server::start(|_| Script::status("503 Service Unavailable")),
            Server::well("b"),
        );
        let guarded = HealthLayer::per_authority(&cache).layer(client());

        for server in [&a, &a, &b] {
            let response = guarded.clone().oneshot(get_from(server)).await.unwrap();
            response.bytes().await.unwrap();
        }
        assert!(!cache.is_healthy(&format!("http://{}", a.address())));
        assert!(cache.is_healthy(&format!("http://{}", b.address())));
        assert!(cache.get(&format!("http://{}", b.address())).is_some());
    }
}

mod bodies {
    use super::*;

    #[tokio::test]
    async fn truncated_body_is_a_failure() {
        let short = |length| Script::default().head("200 OK", &[("content-length", length)]);
        for truncated in [
            short("9").send("from"),
            Script::stream().chunk("from"),
            Script::stream().chunk("from").send("4\r\nfr"),
        ] {
            let provider = struck();
            assert_breaks(&provider, truncated).await;
            let reason = provider.health().last_error.unwrap();
            assert_eq!(reason.label(), "incomplete", "{reason}");
        }
    }

    #[tokio::test]
    async fn reset_body_is_a_failure() {
        let provider = struck();
        let reset = Script::stream()
            .chunk("from")
            .pause(50 * MILLISECOND)
            .reset();
        assert_breaks(&provider, reset).await;
        let reason = provider.health().last_error.unwrap();
        assert_eq!(reason.label(), "reset", "{reason}");
    }

    /// The caller receives reqwest's own timeout error.
    #[tokio::test]
    async fn timeout_of_the_client_within_a_body_is_a_failure() {
        let builders = [
            reqwest_builder().timeout(500 * MILLISECOND),
            reqwest_builder().read_timeout(500 * MILLISECOND),
        ];
        for builder in builders {
            let server = Server::start(|_| Script::stream().chunk("from").hang());
            let provider = struck();
            let client = builder.build().unwrap();
            let guarded = HealthLayer::reqwest(provider.clone()).layer(client);

            let response = guarded.oneshot(get_from(&server)).await.unwrap();
            let error = response.text().await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            assert_eq!(provider.health().state, State::Open);
            let reason = provider.health().last_error.unwrap();
            assert_eq!(reason.label(), "timeout", "{reason}");
        }
    }

    #[tokio::test]
    async fn silence_within_a_body_is_a_failure() {
        let server = Server::start(|_| Script::stream().chunk("from").hang());
        let provider = struck();
        let layer = HealthLayer::reqwest(provider.clone())
            .classify(StatusClassifier::new().idle_timeout(200 * MILLISECOND));

        let guarded = layer.layer(client());
        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        let error = response.text().await.unwrap_err();
        let idle = error::find::<IdleBody>(&error).unwrap();
        assert_eq!(idle.limit, 200 * MILLISECOND);
        assert_eq!(Kind::of(&error), Some(Kind::Timeout));
        assert_eq!(provider.health().state, State::Open);
    }

    #[tokio::test]
    async fn stream_without_its_last_event_is_a_failure() {
        let server = Server::start(|_| Script::events().chunk("data: a\n\n").last_chunk());
        let provider = struck();
        let guarded = judged(&provider).layer(client());

        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "data: a\n\n");
        let reason = provider.health().last_error.unwrap();
        assert_eq!(reason.label(), "incomplete", "{reason}");
    }

    /// Readers of language models stop at the last event.
    #[tokio::test]
    async fn stream_whose_reader_stops_at_its_last_event_is_a_success() {
        let server = Server::start(|_| Script::events().chunk("data: [DONE]\n\n").hang());
        let provider = struck();
        let guarded = judged(&provider).layer(client());

        let mut response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: [DONE]\n\n");
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    #[tokio::test]
    async fn body_that_nobody_reads_is_neutral() {
        let server = Server::well("a");
        let provider = struck();
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());

        drop(guarded.oneshot(get_from(&server)).await.unwrap());
        assert_eq!(provider.health().consecutive_failures, 1);
    }

    #[tokio::test]
    async fn answer_to_head_is_a_success_at_its_head() {
        let server =
            Server::start(|_| Script::default().head("200 OK", &[("content-length", "9")]));
        let provider = struck();
        let guarded = ServiceBuilder::new()
            .layer(HealthLayer::reqwest(provider.clone()))
            .layer(PeekLayer::whole())
            .service(client());

        let head = Request::new(Method::HEAD, url(&server));
        let response = guarded.oneshot(head).await.unwrap();
        assert_eq!(response.headers()["content-length"], "9");
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    async fn assert_breaks(provider: &Provider, script: Script) {
        let server = Server::start(move |_| script.clone());
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());
        let mut response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "from");
        response.text().await.unwrap_err();
        assert_eq!(provider.health().state, State::Open);
    }

    fn judged(provider: &Provider) -> HealthLayer<StatusClassifier> {
        let by_events = StatusClassifier::new().judge_sse(|event| match event.data {
            "[DONE]" => StreamVerdict::Done,
            _ => StreamVerdict::Continue,
        });
        HealthLayer::reqwest(provider.clone()).classify(by_events)
    }
}

mod errors {
    use super::*;

    #[tokio::test]
    async fn refused_connection_is_a_connect() {
        let (_socket, url) = refusing();
        assert_eq!(kind_of(client(), get(&url)).await, Some(Kind::Connect));
    }

    /// A classifier that is not reqwest's leaves the error unboxed.
    #[tokio::test]
    async fn error_that_is_not_boxed_has_its_kind_too() {
        let (_socket, url) = refusing();
        let provider = struck();
        let permit = provider.admit().unwrap();

        let result = client().execute(get(&url)).await;
        let classified = StatusClassifier::new().classify(result, permit);
        classified.unwrap_err();
        let reason = provider.health().last_error.unwrap();
        assert_eq!(reason.label(), "connect", "{reason}");
    }

    #[tokio::test]
    async fn name_that_does_not_resolve_is_dns() {
        let kind = kind_of(client(), get("http://a.invalid/")).await;
        assert_eq!(kind, Some(Kind::Dns));
    }

    #[tokio::test]
    async fn timeout_is_a_timeout() {
        let server = Server::start(|_| Script::default().hang());
        let client = reqwest_builder().timeout(100 * MILLISECOND);
        let kind = kind_of(client.build().unwrap(), get_from(&server)).await;
        assert_eq!(kind, Some(Kind::Timeout));
    }

    #[tokio::test]
    async fn timeout_of_one_request_is_a_timeout() {
        let server = Server::start(|_| Script::default().hang());
        let mut request = get_from(&server);
        *request.timeout_mut() = Some(100 * MILLISECOND);
        assert_eq!(kind_of(client(), request).await, Some(Kind::Timeout));
    }

    #[tokio::test]
    async fn connection_that_ends_before_the_head_is_incomplete() {
        let server = Server::start(|_| Script::default());
        let kind = kind_of(client(), get_from(&server)).await;
        assert_eq!(kind, Some(Kind::Incomplete));
    }

    #[tokio::test]
    async fn reset_before_the_head_is_a_reset() {
        let server = Server::start(|_| Script::default().reset());
        let kind = kind_of(client(), get_from(&server)).await;
        assert_eq!(kind, Some(Kind::Reset));
    }

    #[tokio::test]
    async fn answer_that_is_not_http_is_a_protocol() {
        let server = Server::start(|_| Script::default().send("nonsense\r\n\r\n"));
        let kind = kind_of(client(), get_from(&server)).await;
        assert_eq!(kind, Some(Kind::Protocol));
    }

    #[tokio::test]
    async fn requests_that_are_not_sent_are_neutral() {
        for url in ["ftp://127.0.0.1/", "file:///x", "nonsense:thing"] {
            let provider = struck();
            let guarded = HealthLayer::reqwest(provider.clone()).layer(client());
            let error = guarded.oneshot(get(url)).await.unwrap_err();
            assert_eq!(Kind::of(&*error), Some(Kind::Request), "{url}");
            assert_eq!(provider.health().state, State::Closed);
        }
    }

    #[tokio::test]
    async fn request_body_that_breaks_off_is_neutral() {
        let server = Server::start(|_| Script::default().hang());
        let provider = struck();
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client());
        let mut request = post(&server);
        *request.body_mut() = Some(stream([Ok("from"), Err("file is gone")]));

        let error = guarded.oneshot(request).await.unwrap_err();
        assert_eq!(Kind::of(&*error), Some(Kind::Request), "{error:?}");
        assert_eq!(provider.health().state, State::Closed);
    }

    /// The URL of a port without a listener, for as long as the socket is held.
    fn refusing() -> (TcpSocket, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        (socket, url)
    }

    /// The kind of a failed call's error, after asserting that the layer has recorded it and opened.
    async fn kind_of(client: Client, request: Request) -> Option<Kind> {
        let provider = struck();
        let guarded = HealthLayer::reqwest(provider.clone()).layer(client);
        let error = guarded.oneshot(request).await.unwrap_err();
        assert_eq!(provider.health().state, State::Open);
        let kind = Kind::of(&*error);
        let reason = provider.health().last_error.unwrap();
        assert_eq!(Some(reason.label()), kind.map(Kind::as_str), "{reason}");
        kind
    }
}

mod peeked {
    use super::*;

    #[tokio::test]
    async fn error_before_the_first_token_fails_the_call() {
        let server = Server::start(|_| Script::events().chunk("event: error\ndata: full\n\n"));
        let provider = struck();
        let guarded = ServiceBuilder::new()
            .layer(HealthLayer::reqwest(provider.clone()))
            .layer(first_token())
            .service(client());

        let error = guarded.oneshot(get_from(&server)).await.unwrap_err();
        let expected = PeekError::Broken("full".into());
        assert_eq!(error::find::<PeekError>(&*error), Some(&expected));
        assert_eq!(provider.health().state, State::Open);
    }

    #[tokio::test]
    async fn stream_that_begins_is_served_whole() {
        let server = Server::start(|_| {
            let stream = Script::events().chunk(": hi\n\n").chunk("data: a\n\n");
            stream.await_cue().chunk("data: b\n\n").last_chunk()
        });
        let provider = struck();
        let guarded = ServiceBuilder::new()
            .layer(HealthLayer::reqwest(provider.clone()))
            .layer(first_token())
            .service(client());

        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(*response.url(), url(&server));
        server.cue();
        let text = response.text().await.unwrap();
        assert_eq!(text, ": hi\n\ndata: a\n\ndata: b\n\n");
        assert_eq!(provider.health().consecutive_failures, 0);
    }

    #[tokio::test]
    async fn body_that_breaks_off_while_it_is_held_fails_the_call() {
        let truncated = Script::default().head("200 OK", &[("content-length", "9")]);
        let truncated = truncated.send("from");
        let server = Server::start(move |_| truncated.clone());
        let whole = PeekLayer::whole().layer(client());
        let error = whole.oneshot(get_from(&server)).await.unwrap_err();
        assert_eq!(Kind::of(&*error), Some(Kind::Incomplete), "{error:?}");
    }

    #[tokio::test]
    async fn error_is_judged_by_its_body_which_stays_whole() {
        const ERROR: &str = r#"{"error":{"code":"insufficient_quota"}}"#;
        let server = Server::start(|_| Script::answer("429 Too Many Requests", &[], ERROR));
        let provider = provider();
        let guarded = ServiceBuilder::new()
            .layer(HealthLayer::reqwest(provider.clone()))
            .layer(ReadErrorsLayer::new(|error| {
                assert!(error.body.contains("insufficient_quota"));
                ErrorVerdict::new().outcome(Outcome::fatal("insufficient_quota"))
            }))
            .service(client());

        let response = guarded.oneshot(get_from(&server)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), ERROR);
        let health = provider.health();
        assert_eq!(health.cause, Some(Cause::Failures));
        assert_eq!(health.last_error.unwrap(), "insufficient_quota");
    }
}

mod chained {
    use super::*;

    #[tokio::test]
    async fn next_provider_answers_the_same_request() {
        let (a, b) = (
            Server::start(|_| Script::status("503 Service Unavailable")),
            Server::well("b"),
        );
        let chain = chain_of([&a, &b]);
        let mut request = post(&a);
        *request.body_mut() = Some("6 * 7".into());
        request.headers_mut().insert("x-key", "1".parse().unwrap());

        let response = chain.oneshot(request).await.unwrap();

        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "1");
        assert_eq!(shown(&served_by.attempts), ["0: 503"]);
        assert_eq!(response.text().await.unwrap(), "from b");
        for request in [a.last_request(), b.last_request()] {
            assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("x-key: 1\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n6 * 7"), "{request}");
        }
    }

    #[tokio::test]
    async fn timeout_of_the_request_holds_for_each_provider() {
        let (a, b) = (
            Server::start(|_| Script::default().hang()),
            Server::start(|_| Script::default().hang()),
        );
        let chain = chain_of([&a, &b]);
        let mut request = get_from(&a);
        *request.timeout_mut() = Some(200 * MILLISECOND);

        let start = Instant::now();
        let error = chain.oneshot(request).await.unwrap_err();
        let timed_out = ["0: operation timed out", "1: operation timed out"];
        assert_eq!(shown(&exhausted(&error).attempts), timed_out);
        assert!(start.elapsed() >= 400 * MILLISECOND);
    }

    #[tokio::test]
    async fn verdict_on_an_errors_body_decides_whether_to_go_on() {
        let (a, b) = (
            Server::start(|_| Script::answer("400 Bad Request", &[], "prompt too long")),
            Server::well("b"),
        );
        let read_errors = ReadErrorsLayer::new(|error| {
            ErrorVerdict::new().advance(error.body == "prompt too long")
        });
        let cache = HealthCache::default();
        let chain = FallbackChain::reqwest()
            .guard(cache.provider("a"), read_errors.layer(stack(&a)))
            .guard(cache.provider("b"), read_errors.layer(stack(&b)));

        let response = chain.oneshot(get_from(&a)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "from b");
    }

    #[tokio::test]
    async fn rule_can_be_set() {
        let (a, b) = (
            Server::start(|_| Script::status("404 Not Found")),
            Server::well("b"),
        );
        let cache = HealthCache::default();
        let chain = FallbackChain::reqwest()
            .advance(StatusClassifier::new().advance_on([404]))
            .guard(cache.provider("a"), stack(&a))
            .guard(cache.provider("b"), stack(&b));

        let response = chain.oneshot(get_from(&a)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "from b");
    }

    #[tokio::test]
    async fn stream_is_sent_to_nobody_where_another_provider_may_need_it() {
        let servers = [Server::well("a"), Server::well("b")];
        let chain = chain_of(servers.each_ref());
        let mut request = post(&servers[0]);
        *request.body_mut() = Some(stream([Ok("6 * 7")]));

        let error = chain.oneshot(request).await.unwrap_err();

        assert_eq!(
            error.to_string(),
            "request body is a stream, which cannot be sent to a second provider; collect it first"
        );
        let stream = error::find::<ReplayError>(&*error);
        assert!(matches!(stream, Some(ReplayError::Stream)), "{error:?}");
        assert!(Kind::of(&*error).is_some_and(Kind::is_neutral));
        assert_eq!(servers.map(|server| server.requests()), [0, 0]);
    }

    #[tokio::test]
    async fn stream_is_sent_where_no_other_provider_takes_it() {
        let (a, b) = (Server::well("a"), Server::well("b"));
        let cache = HealthCache::default();
        let is_repeatable =
            |request: &Request| request.body().is_none_or(|body| body.as_bytes().is_some());
        let chain = FallbackChain::reqwest()
            .guard_if(cache.provider("a"), stack(&a), is_repeatable)
            .guard(cache.provider("b"), stack(&b));
        let mut request = post(&a);
        *request.body_mut() = Some(stream([Ok("6 * 7")]));

        let response = chain.oneshot(request).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "from b");
        assert_eq!(a.requests(), 0);
    }

    #[tokio::test]
    async fn chain_is_called_from_another_task() {
        let (a, b) = (Server::well("a"), Server::well("b"));
        let chain = chain_of([&a, &b]);
        let call = chain.oneshot(get_from(&a));
        let response = tokio::spawn(call).await.unwrap().unwrap();
        assert_eq!(response.text().await.unwrap(), "from a");
    }

    /// A chain of providers `0`, `1` and so on.
    fn chain_of<const N: usize>(
        servers: [&Server; N],
    ) -> impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Send + use<N>
    {
        let cache = HealthCache::default();
        let add = |chain: FallbackChain<_, _, _>, (number, server): (usize, &Server)| {
            chain.guard(cache.provider(number.to_string()), stack(server))
        };
        let numbered = servers.into_iter().enumerate();
        numbered.fold(FallbackChain::reqwest(), add)
    }

    /// Sends every request to this server.
    fn stack(
        server: &Server,
    ) -> MapRequest<Client, impl FnMut(Request) -> Request + Clone + Send + Sync + use<>> {
        let port = server.address().port();
        client().map_request(move |mut request: Request| {
            request.url_mut().set_port(Some(port)).unwrap();
            request
        })
    }
}

fn provider() -> Provider {
    HealthCache::default().provider("a")
}

/// A provider that opens at its next failure.
fn struck() -> Provider {
    let provider = provider();
    provider.mark_unhealthy("a strike");
    provider
}

fn trip(provider: &Provider) {
    while provider.is_healthy() {
        provider.mark_unhealthy("down");
    }
}

fn client() -> Client {
    reqwest_builder().build().unwrap()
}

fn url(server: &Server) -> Url {
    format!("http://{}/", server.address()).parse().unwrap()
}

fn get(url: &str) -> Request {
    Request::new(Method::GET, url.parse().unwrap())
}

fn get_from(server: &Server) -> Request {
    Request::new(Method::GET, url(server))
}

fn post(server: &Server) -> Request {
    Request::new(Method::POST, url(server))
}

/// A request body that can be read only once.
fn stream<const N: usize>(pieces: [Result<&'static str, &'static str>; N]) -> Body {
    Body::wrap(Pieces(Vec::from(pieces).into_iter()))
}

struct Pieces(vec::IntoIter<Result<&'static str, &'static str>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let next = self.0.next();
        Poll::Ready(next.map(|piece| piece.map(|data| Frame::data(data.into()))))
    }
}
