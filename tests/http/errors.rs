//! Kinds of errors: the labels of reasons, and the errors that do not count against a provider.

use std::{
    error::Error,
    fmt,
    future::{pending, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn, service};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connect, HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn,
    timeout::error::Elapsed, util::BoxCloneSyncService,
};
use tower_health::{
    BoxError, FallbackChain, HealthCache, HealthLayer, Provider, Reason, ServedBy, State,
    error::{Kind, NoHealthyProvider},
    http::{HttpCheck, ReplayError, ReplayLayer},
};

type RequestBody = UnsyncBoxBody<Bytes, BoxError>;
/// A client, and the request that it sends.
type Call = BoxCloneSyncService<(), Response<Incoming>, legacy::Error>;

/// Never resolved: the clients that use it have their own resolvers.
const NO_SUCH_NAME: &str = "http://does-not-exist.invalid/";

mod connecting {
    use super::*;

    /// Scenario 33.
    #[tokio::test]
    async fn refused_connection_is_a_connect() {
        let fault = fault(get(http1(), refusing().await)).await;
        assert_eq!(fault.label(), "connect");
        let text = "connect: client error (Connect): tcp connect error: ";
        assert!(fault.starts_with(text), "{fault}");
    }

    /// Scenario 33.
    #[tokio::test]
    async fn name_that_cannot_be_resolved_is_a_dns() {
        let fault = fault(nameless()).await;
        assert_eq!(fault.label(), "dns");
        assert_eq!(
            fault,
            "dns: client error (Connect): dns error: no such name"
        );
    }

    #[tokio::test]
    async fn name_stays_a_dns_whatever_its_resolver_makes_of_it() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused] {
            let client = client(resolver(move || Err(kind.into())));
            assert_eq!(fault(get(client, NO_SUCH_NAME)).await.label(), "dns");
        }
    }

    #[tokio::test]
    async fn name_without_addresses_is_a_connect() {
        let client = client(resolver(|| Ok(Vec::new())));
        assert_eq!(fault(get(client, NO_SUCH_NAME)).await.label(), "connect");
    }

    /// Scenario 33.
    #[tokio::test]
    async fn broken_handshake_is_a_tls() {
        let fault = fault(untrusting()).await;
        assert_eq!(fault.label(), "tls");
        assert_eq!(fault, "tls: client error (Connect): unknown issuer");
    }

    #[tokio::test]
    async fn time_that_runs_out_while_connecting_is_a_timeout() {
        let client = client(connector(|| io::ErrorKind::TimedOut.into()));
        assert_eq!(fault(get(client, NO_SUCH_NAME)).await.label(), "timeout");
    }

    #[tokio::test]
    async fn what_else_ends_a_handshake_is_a_connect() {
        for kind in [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::PermissionDenied,
        ] {
            let client = client(connector(move || kind.into()));
            let fault = fault(get(client, NO_SUCH_NAME)).await;
            assert_eq!(fault.label(), "connect", "{kind}");
        }
    }

    /// Scenario 33.
    #[tokio::test]
    async fn chain_serves_from_the_first_that_can_be_reached() {
        let cache = HealthCache::default();
        let chain = [
            ("refuses", get(http1(), refusing().await)),
            ("nameless", nameless()),
            ("untrusted", untrusting()),
            ("well", get(http1(), reading_all(Protocol::Http1).await)),
        ]
        .into_iter()
        .fold(FallbackChain::http(), |chain, (id, call)| {
            let layer = HealthLayer::http(cache.provider(id));
            chain.entry(cache.provider(id), layer.layer(call))
        });

        for labels in [
            ["connect", "dns", "tls"],
            ["connect", "dns", "tls"],
            ["circuit open"; 3],
        ] {
            let response = chain.clone().oneshot(()).await.unwrap();
            let served_by = response.extensions().get::<ServedBy>().unwrap();
            assert_eq!(&*served_by.provider, "well");
            let attempts = served_by.attempts.iter();
            assert!(attempts.map(|it| it.reason.label()).eq(labels));
        }
        for id in ["refuses", "nameless", "untrusted"] {
            assert_eq!(cache.provider(id).health().state, State::Open, "{id}");
        }
    }
}

mod answering {
    use super::*;

    #[tokio::test]
    async fn connection_that_is_reset_before_the_answer_is_a_reset() {
        let fault = fault(get(http1(), resetting_after("").await)).await;
        assert_eq!(fault.label(), "reset");
    }

    #[tokio::test]
    async fn connection_that_is_closed_before_the_answer_is_an_incomplete() {
        let fault = fault(get(http1(), saying("").await)).await;
        assert_eq!(fault.label(), "incomplete");
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_protocol() {
        let fault = fault(get(http1(), saying("SSH-2.0-OpenSSH\r\n\r\n").await)).await;
        assert_eq!(fault.label(), "protocol");
    }

    #[tokio::test]
    async fn connection_that_is_gone_before_the_request_is_a_closed() {
        let (end, _other_end) = tokio::io::duplex(64);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(end));
        let (mut sender, connection) = handshake.await.unwrap();
        drop(connection);

        let unready = sender.ready().await.unwrap_err();
        assert_eq!(Kind::of(&unready), Some(Kind::Closed));
        let unsent = sender.send_request(Request::new(empty())).await;
        assert_eq!(Kind::of(&unsent.unwrap_err()), Some(Kind::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_beneath_the_layer_is_a_timeout() {
        let provider = provider();
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .timeout(Duration::from_secs(3))
            .service_fn(|()| pending::<io::Result<Response<Empty<Bytes>>>>());
        stack.oneshot(()).await.unwrap_err();
        assert_eq!(fault_of(&provider), "timeout: request timed out");
    }
}

/// A connection that a server closes without notice is no failure if another connection serves the request.
mod housekeeping {
    use super::*;

    #[tokio::test]
    async fn connections_that_were_closed_while_idle_do_not_count() {
        let closes = serve(|mut stream| async move {
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let provider = provider();
        let client = HealthLayer::http(provider.clone()).layer(get(http1(), closes));
        let call = async || -> Result<(), BoxError> {
            client.clone().oneshot(()).await?.collect().await?;
            Ok(())
        };
        for _ in 0..5 {
            let (one, other) = tokio::join!(call(), call());
            one.and(other).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_is_spared(&provider);
    }

    /// The server reads the head, answers, and closes with unread data, which resets the connection.
    #[tokio::test]
    async fn uploads_that_are_turned_away_early_do_not_count() {
        let picky = serve(|mut stream| async move {
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            let answer =
                "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let upload = send(http1(), move || {
            let body = Full::from(vec![b'x'; 8 << 20]);
            let body = body.map_err(|never| match never {}).boxed_unsync();
            Request::post(&picky.uri).body(body).unwrap()
        });
        let provider = provider();
        let client = HealthLayer::http(provider.clone()).layer(upload);
        for _ in 0..20 {
            let response = client.clone().oneshot(()).await.unwrap();
            assert_eq!(response.status(), 413);
        }
        assert_is_spared(&provider);
    }
}

mod bodies {
    use super::*;

    /// Scenario 40.
    #[tokio::test]
    async fn body_shorter_than_announced_is_an_incomplete() {
        let truncated = saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        assert_eq!(kind_of_body(truncated).await, Some(Kind::Incomplete));
    }

    #[tokio::test]
    async fn body_without_its_last_chunk_is_an_incomplete() {
        let cut = saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
        assert_eq!(kind_of_body(cut).await, Some(Kind::Incomplete));
    }

    #[tokio::test]
    async fn body_in_bad_chunks_is_a_protocol() {
        let bad = saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhi\r\n").await;
        assert_eq!(kind_of_body(bad).await, Some(Kind::Protocol));
    }

    /// Scenario 36.
    #[tokio::test]
    async fn body_that_is_reset_is_a_reset() {
        let server = resetting_after("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        assert_eq!(kind_of_body(server).await, Some(Kind::Reset));
    }

    async fn kind_of_body(server: Server) -> Option<Kind> {
        let response = get(http1(), &server).oneshot(()).await.unwrap();
        let mut body = response.into_body();
        let error = loop {
            match body.frame().await.expect("an error before the end") {
                Ok(_) => server.has_been_read.notify_one(),
                Err(error) => break error,
            }
        };
        Kind::of(&error)
    }
}

mod http2 {
    use super::*;

    #[tokio::test]
    async fn stream_that_the_provider_resets_is_a_reset() {
        // Hyper's server resets the stream if its service fails.
        let server = serve(|stream| async {
            let fails = service::service_fn(async |_| Err::<Response<Empty<Bytes>>, _>("panic"));
            conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), fails)
                .await
                .unwrap();
        });
        let fault = fault(get(http2(), server.await)).await;
        assert_eq!(fault.label(), "reset");
        assert!(fault.contains("stream error received"), "{fault}");
    }

    #[tokio::test]
    async fn connection_that_the_provider_closes_is_a_closed() {
        let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
        let fault = fault(get(http2(), sending_frame(&go_away).await)).await;
        assert_eq!(fault.label(), "closed");
        assert!(fault.contains("connection error received"), "{fault}");
    }

    #[tokio::test]
    async fn ping_that_is_not_answered_is_a_timeout() {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder
            .timer(TokioTimer::new())
            .http2_only(true)
            .http2_keep_alive_interval(Duration::from_millis(10))
            .http2_keep_alive_timeout(Duration::from_millis(10))
            .build_http();
        let fault = fault(get(client, sending_frame(&[]).await)).await;
        assert_eq!(fault.label(), "timeout");
    }

    #[tokio::test]
    async fn frame_that_is_out_of_place_is_a_protocol() {
        let data_on_no_stream = [0, 0, 1, 0, 0, 0, 0, 0, 0, 42];
        let fault = fault(get(http2(), sending_frame(&data_on_no_stream).await)).await;
        assert_eq!(fault.label(), "protocol");
        assert!(fault.contains("connection error detected"), "{fault}");
    }
}

/// Requests that the provider reports as not processed.
mod unprocessed {
    use super::*;

    const GRACEFUL_GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const REFUSED_STREAM: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];

    #[tokio::test]
    async fn stream_after_the_last_of_a_graceful_go_away_does_not_count() {
        let call = get(http2(), sending_frame(&GRACEFUL_GO_AWAY).await);
        assert_eq!(spared(call).await, Kind::Unprocessed);
    }

    #[tokio::test]
    async fn refused_stream_does_not_count() {
        let call = get(http2(), sending_frame(&REFUSED_STREAM).await);
        assert_eq!(spared(call).await, Kind::Unprocessed);
    }

    #[tokio::test]
    async fn go_away_for_an_error_counts() {
        let mut internal_error = GRACEFUL_GO_AWAY;
        internal_error[16] = 2;
        let fault = fault(get(http2(), sending_frame(&internal_error).await)).await;
        assert_eq!(fault.label(), "closed");
    }

    #[tokio::test]
    async fn stream_reset_for_another_reason_counts() {
        let mut canceled = REFUSED_STREAM;
        canceled[12] = 8;
        let fault = fault(get(http2(), sending_frame(&canceled).await)).await;
        assert_eq!(fault.label(), "reset");
    }

    #[tokio::test]
    async fn chain_goes_on_to_the_next() {
        let cache = HealthCache::default();
        let leaving = get(http2(), sending_frame(&GRACEFUL_GO_AWAY).await);
        let well = get(http1(), reading_all(Protocol::Http1).await);
        let chain = FallbackChain::http()
            .entry(cache.provider("leaving"), leaving)
            .entry(cache.provider("well"), well);

        let response = chain.oneshot(()).await.unwrap();

        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "well");
        assert_eq!(served_by.attempts[0].reason.label(), "unprocessed");
    }
}

mod local {
    use super::*;

    #[tokio::test]
    async fn go_away_for_too_many_pings_does_not_count() {
        let mut go_away = vec![0, 0, 22, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
        go_away.extend_from_slice(b"too_many_pings");
        let call = get(http2(), sending_frame(&go_away).await);
        assert_eq!(spared(call).await, Kind::TooManyPings);
    }

    #[tokio::test]
    async fn go_away_for_any_other_excess_counts() {
        let mut go_away = vec![0, 0, 14, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
        go_away.extend_from_slice(b"resets");
        let fault = fault(get(http2(), sending_frame(&go_away).await)).await;
        assert_eq!(fault.label(), "closed");
    }

    #[tokio::test]
    async fn request_whose_body_breaks_off_does_not_count() {
        for (client, protocol) in [(http1(), Protocol::Http1), (http2(), Protocol::Http2)] {
            let server = reading_all(protocol).await;
            let call = send(client, move || {
                let body = BreaksOff::default().boxed_unsync();
                Request::post(&server.uri).body(body).unwrap()
            });
            assert_eq!(spared(call).await, Kind::Request, "{protocol:?}");
        }
    }

    #[tokio::test]
    async fn request_that_the_client_refuses_does_not_count() {
        let relative = send(http1(), || Request::new(empty()));
        assert_eq!(spared(relative).await, Kind::Request);

        let with_tls = get(http1(), "https://localhost/");
        assert_eq!(spared(with_tls).await, Kind::Request);

        let server = reading_all(Protocol::Http1).await;
        let of_http_2 = send(http1(), move || {
            let request = Request::get(&server.uri).version(Version::HTTP_2);
            request.body(empty()).unwrap()
        });
        assert_eq!(spared(of_http_2).await, Kind::Request);
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_is_too_large_to_replay_does_not_count() {
        let provider = provider();
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .layer(ReplayLayer::up_to(1))
            .service_fn(|_| ready(io::Result::Ok(Response::new(Empty::<Bytes>::new()))));
        let request = Request::new("more".to_owned());
        let error = stack.oneshot(request).await.unwrap_err();
        assert_eq!(Kind::of(&*error), Some(Kind::Request));
        assert_is_spared(&provider);
    }

    #[tokio::test(start_paused = true)]
    async fn load_that_is_shed_does_not_count() {
        let provider = provider();
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::http(provider.clone()))
            .load_shed()
            .concurrency_limit(1)
            .service_fn(|()| pending::<io::Result<Response<Empty<Bytes>>>>());
        let mut busy = tokio_test::task::spawn(stack.clone().oneshot(()));
        assert!(busy.poll().is_pending());

        for _ in 0..2 {
            let error = stack.clone().oneshot(()).await.unwrap_err();
            assert_eq!(Kind::of(&*error), Some(Kind::Overloaded));
        }
        assert_is_spared(&provider);
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_by_another_breaker_does_not_count() {
        let (provider, beneath) = (provider(), provider());
        beneath.mark_unhealthy("timeout");
        beneath.mark_unhealthy("timeout");
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::new(provider.clone()))
            .layer(HealthLayer::new(beneath))
            .service_fn(|()| ready(io::Result::Ok(())));
        let error = stack.oneshot(()).await.unwrap_err();
        assert_eq!(Kind::of(&*error), Some(Kind::CircuitOpen));
        assert_is_spared(&provider);
    }
}

mod chains {
    use super::*;

    #[test]
    fn io_errors_are_known_by_their_kind() {
        for (io, kind) in [
            (io::ErrorKind::ConnectionRefused, Some(Kind::Connect)),
            (io::ErrorKind::HostUnreachable, Some(Kind::Connect)),
            (io::ErrorKind::NetworkUnreachable, Some(Kind::Connect)),
            (io::ErrorKind::NetworkDown, Some(Kind::Connect)),
            (io::ErrorKind::AddrNotAvailable, Some(Kind::Connect)),
            (io::ErrorKind::ConnectionReset, Some(Kind::Reset)),
            (io::ErrorKind::ConnectionAborted, Some(Kind::Reset)),
            (io::ErrorKind::BrokenPipe, Some(Kind::Reset)),
            (io::ErrorKind::TimedOut, Some(Kind::Timeout)),
            (io::ErrorKind::UnexpectedEof, Some(Kind::Incomplete)),
            (io::ErrorKind::InvalidData, None),
            (io::ErrorKind::NotFound, None),
            (io::ErrorKind::Other, None),
        ] {
            assert_eq!(Kind::of(&io::Error::from(io)), kind, "{io}");
        }
    }

    #[test]
    fn error_is_known_beneath_any_wrapper() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let wrappers: [BoxError; 6] = [
            Box::new(Around(reset())),
            Box::new(Around(Around(reset()))),
            Box::new(io::Error::other(reset())),
            Box::new(Around(io::Error::other(Around(reset())))),
            Box::new(Arc::new(reset())),
            Box::new(Arc::<dyn Error + Send + Sync>::from(
                Box::new(reset()) as BoxError
            )),
        ];
        for error in wrappers {
            assert_eq!(Kind::of(&*error), Some(Kind::Reset), "{error:?}");
        }
    }

    #[test]
    fn innermost_tells_most() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, reset);
        assert_eq!(Kind::of(&error), Some(Kind::Reset));
    }

    #[test]
    fn what_is_local_stays_so_around_and_beneath_others() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let around = ReplayError::Unreadable(reset().into());
        assert_eq!(Kind::of(&around), Some(Kind::Request));

        let beneath = io::Error::new(io::ErrorKind::ConnectionRefused, Overloaded::new());
        assert_eq!(Kind::of(&beneath), Some(Kind::Overloaded));
    }

    #[tokio::test(start_paused = true)]
    async fn timers_of_tokio_and_tower_are_timeouts() {
        let of_tokio = timeout(Duration::from_secs(1), pending::<()>()).await;
        assert_eq!(Kind::of(&of_tokio.unwrap_err()), Some(Kind::Timeout));
        assert_eq!(Kind::of(&Elapsed::new()), Some(Kind::Timeout));
    }

    #[test]
    fn timers_of_reqwest_and_tower_http_are_timeouts() {
        /// Displays the same text as reqwest's timeout.
        #[derive(Debug)]
        struct TimedOut;

        impl fmt::Display for TimedOut {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("operation timed out")
            }
        }

        impl Error for TimedOut {}

        /// Displays the same text as tower-http's timeout.
        #[derive(Debug)]
        struct TimeoutError(());

        impl fmt::Display for TimeoutError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("data was not received within the designated timeout")
            }
        }

        impl Error for TimeoutError {}

        assert_eq!(Kind::of(&Around(TimedOut)), Some(Kind::Timeout));
        assert_eq!(Kind::of(&Around(TimeoutError(()))), Some(Kind::Timeout));
    }

    #[test]
    fn timer_of_tonic_is_a_timeout() {
        let expired = tonic::TimeoutExpired(());
        assert_eq!(Kind::of(&Around(expired)), Some(Kind::Timeout));
    }

    #[cfg(feature = "tonic")]
    #[test]
    fn connect_errors_of_tonic_are_connects_unless_more_is_known() {
        let of_tonic = |beneath: BoxError| Kind::of(&Around(tonic::ConnectError(beneath)));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        let untrusted = io::Error::new(io::ErrorKind::InvalidData, "unknown issuer");
        assert_eq!(of_tonic("proxy".into()), Some(Kind::Connect));
        assert_eq!(of_tonic(timed_out.into()), Some(Kind::Timeout));
        assert_eq!(of_tonic(untrusted.into()), Some(Kind::Tls));
    }

    #[test]
    fn text_alone_makes_no_kind() {
        for text in [
            "timeout",
            "request timed out",
            "operation timed out",
            "Timeout expired",
            "data was not received within the designated timeout",
            "builder error",
            "service overloaded",
            "dns error",
            "client error (Connect)",
            "client error (UserUnsupportedVersion)",
            "connection reset by peer",
        ] {
            let error = BoxError::from(text);
            assert_eq!(Kind::of(&*error), None, "{text}");
            assert_eq!(Kind::of(&Around(io::Error::other(error))), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn exhausted_chain_is_of_its_last_errors_kind_if_that_has_one() {
        let provider = provider();
        let mut chain = FallbackChain::new().entry(
            provider.clone(),
            service_fn(|kind: io::ErrorKind| ready(Err::<(), _>(io::Error::from(kind)))),
        );
        let timed_out = chain.call(io::ErrorKind::TimedOut).await.unwrap_err();
        assert!(timed_out.is::<NoHealthyProvider>());
        assert_eq!(Kind::of(&*timed_out), Some(Kind::Timeout));

        let other = chain.call(io::ErrorKind::Other).await.unwrap_err();
        assert_eq!(Kind::of(&*other), Some(Kind::NoHealthyProvider));
        assert!(!Kind::NoHealthyProvider.is_local());
    }
}

mod services {
    use super::*;

    #[tokio::test]
    async fn kind_is_known_whether_the_error_is_boxed_or_not() {
        let server = refusing().await;
        let boxed = ServiceBuilder::new()
            .map_err(BoxError::from)
            .service(get(http1(), &server));
        let provider = provider();
        let layer = HealthLayer::http(provider.clone());
        layer.layer(boxed).oneshot(()).await.unwrap_err();

        assert_eq!(fault_of(&provider), fault(get(http1(), server)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn error_of_a_type_of_ones_own_is_judged_by_what_is_beneath_it() {
        let fails = service_fn(|()| {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            ready(Err::<Response<Empty<Bytes>>, _>(Around(reset)))
        });
        for_each_classifier(fails, |provider| {
            assert_eq!(fault_of(provider), "reset: around: connection reset");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn local_error_of_a_type_of_ones_own_does_not_count() {
        let fails =
            service_fn(|()| ready(Err::<Response<Empty<Bytes>>, _>(Around(Overloaded::new()))));
        for_each_classifier(fails, assert_is_spared).await;
    }

    /// Checks the service behind each of the crate's classifiers.
    async fn for_each_classifier<S, B>(service: S, check: impl Fn(&Provider))
    where
        S: Service<(), Response = Response<B>> + Clone,
        S::Error: Into<BoxError> + fmt::Display + 'static,
        B: Body,
    {
        let provider = provider();
        let layer = HealthLayer::new(provider.clone());
        assert!(layer.layer(service.clone()).oneshot(()).await.is_err());
        check(&provider);

        let layer = HealthLayer::http(provider.clone());
        assert!(layer.layer(service.clone()).oneshot(()).await.is_err());
        check(&provider);

        let layer = HealthLayer::grpc(provider.clone());
        assert!(layer.layer(service).oneshot(()).await.is_err());
        check(&provider);
    }

    #[tokio::test]
    async fn check_names_the_kind_too() {
        let server = refusing().await;
        let check = HttpCheck::new(http1(), move || {
            Request::get(&server).body(empty()).unwrap()
        });
        assert_eq!(check.run().await.unwrap_err().label(), "connect");
    }
}

mod labels {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn status_is_its_own_label() {
        let provider = provider();
        let layer = HealthLayer::http(provider.clone());
        let fails = service_fn(|()| {
            let response = Response::builder().status(503);
            ready(io::Result::Ok(
                response.body(Empty::<Bytes>::new()).unwrap(),
            ))
        });
        layer.layer(fails).oneshot(()).await.unwrap();
        let fault = fault_of(&provider);
        assert_eq!((&*fault, fault.label()), ("503", "503"));
    }

    #[test]
    fn free_text_has_none_of_its_own() {
        for reason in [
            Reason::from("no more than 3 requests".to_owned()),
            Reason::display("no more than 3 requests"),
            Reason::error(&io::Error::other("no more than 3 requests")),
            Reason::labelled("", "no more than 3 requests"),
        ] {
            assert_eq!(reason, "no more than 3 requests");
            assert_eq!(reason.label(), "error");
        }
    }

    #[test]
    fn constant_is_its_own() {
        assert_eq!(
            Reason::from("unwanted response").label(),
            "unwanted response"
        );
    }

    #[test]
    fn error_that_begins_with_its_label_is_not_told_twice() {
        let says = |kind, text| Reason::error(&io::Error::new(kind, text));
        let by_peer = says(io::ErrorKind::ConnectionReset, "reset by peer");
        assert_eq!((&*by_peer, by_peer.label()), ("reset by peer", "reset"));

        let refused = says(io::ErrorKind::ConnectionRefused, "connection refused");
        assert_eq!(refused, "connect: connection refused");
    }

    #[test]
    fn detail_may_be_absent_or_say_the_same() {
        assert_eq!(Reason::labelled("quota", ""), "quota");
        assert_eq!(Reason::labelled("quota", "quota"), "quota");
        assert_eq!(Reason::labelled("quota", "daily").label(), "quota");
    }

    #[test]
    fn label_that_is_too_long_is_cut_like_all_text() {
        let reason = Reason::labelled("é".repeat(1_000), "detail");
        assert_eq!(reason.label(), "é".repeat(Reason::MAX_BYTES / 2));
        assert_eq!(reason.as_str(), reason.label());
    }

    #[test]
    fn kind_is_displayed_as_its_label() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let kind = Kind::of(&reset).unwrap();
        assert_eq!(kind.to_string(), Reason::error(&reset).label());
        assert_eq!(kind.to_string(), kind.as_str());
    }
}

/// Makes a call that counts against the provider, and returns the recorded reason.
async fn fault(call: Call) -> Reason {
    let provider = provider();
    let layer = HealthLayer::http(provider.clone());
    layer.layer(call).oneshot(()).await.unwrap_err();
    fault_of(&provider)
}

fn fault_of(provider: &Provider) -> Reason {
    let health = provider.health();
    assert!(health.consecutive_failures > 0);
    health.last_error.unwrap()
}

/// Makes a call whose error does not count against the provider, and returns the error's kind.
async fn spared(call: Call) -> Kind {
    let provider = provider();
    let layer = HealthLayer::http(provider.clone());
    let error = layer.layer(call).oneshot(()).await.unwrap_err();
    assert_is_spared(&provider);
    Kind::of(&*error).unwrap()
}

#[track_caller]
fn assert_is_spared(provider: &Provider) {
    let health = provider.health();
    assert_eq!(health.consecutive_failures, 0);
    assert_eq!(health.last_error, None);
}

fn provider() -> Provider {
    HealthCache::default().provider("search")
}

fn get<C>(client: Client<C, RequestBody>, uri: impl AsRef<str>) -> Call
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let uri: Uri = uri.as_ref().parse().unwrap();
    send(client, move || Request::get(&uri).body(empty()).unwrap())
}

fn send<C, F>(client: Client<C, RequestBody>, request: F) -> Call
where
    C: Connect + Clone + Send + Sync + 'static,
    F: Fn() -> Request<RequestBody> + Clone + Send + Sync + 'static,
{
    BoxCloneSyncService::new(client.map_request(move |()| request()))
}

fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn nameless() -> Call {
    let no_such_name = || Err(io::Error::other("no such name"));
    get(client(resolver(no_such_name)), NO_SUCH_NAME)
}

/// A call whose connector fails as rustls does: with `InvalidData` inside another `io::Error`.
fn untrusting() -> Call {
    let untrusted = || io::Error::new(io::ErrorKind::InvalidData, "unknown issuer");
    let fails = connector(move || io::Error::other(untrusted()));
    get(client(fails), "https://localhost/")
}

fn http1() -> Client<HttpConnector, RequestBody> {
    client(HttpConnector::new())
}

fn http2() -> Client<HttpConnector, RequestBody> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(true).build_http()
}

fn client<C: Connect + Clone>(connector: C) -> Client<C, RequestBody> {
    Client::builder(TokioExecutor::new()).build(connector)
}

fn resolver<F>(addresses: F) -> impl Connect + Clone + Send + Sync + 'static
where
    F: Fn() -> io::Result<Vec<SocketAddr>> + Clone + Send + Sync + 'static,
{
    HttpConnector::new_with_resolver(service_fn(move |_: Name| {
        ready(addresses().map(Vec::into_iter))
    }))
}

fn connector<F>(error: F) -> impl Connect + Clone + Send + Sync + 'static
where
    F: Fn() -> io::Error + Clone + Send + Sync + 'static,
{
    service_fn(move |_: Uri| ready(Err::<TokioIo<TcpStream>, _>(error())))
}

/// A server on a real socket.
#[derive(Clone)]
struct Server {
    uri: String,
    has_been_read: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

/// An address without a listener.
async fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

/// A server that answers a request with this text and then closes.
async fn saying(text: &'static str) -> Server {
    serve(move |mut stream| async move {
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        until_closed(stream).await;
    })
    .await
}

/// A server that sends this text, waits until the client has read it, and resets the connection.
async fn resetting_after(text: &'static str) -> Server {
    let has_been_read = Arc::new(Notify::new());
    let notified = Arc::clone(&has_been_read);
    let server = serve(move |mut stream| {
        let notified = Arc::clone(&notified);
        async move {
            // Closing with unread data resets the connection.
            assert!(stream.peek(&mut [0]).await.unwrap() > 0);
            stream.write_all(text.as_bytes()).await.unwrap();
            if !text.is_empty() {
                notified.notified().await;
            }
        }
    });
    Server {
        has_been_read,
        ..server.await
    }
}

/// A server that answers an HTTP/2 request with this frame only.
async fn sending_frame(frame: &[u8]) -> Server {
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frames = [&EMPTY_SETTINGS, frame].concat();
    serve(move |mut stream| {
        let frames = frames.clone();
        async move {
            until_headers(&mut stream).await;
            stream.write_all(&frames).await.unwrap();
            until_closed(stream).await;
        }
    })
    .await
}

/// A server that reads the whole request and answers with an empty body.
async fn reading_all(protocol: Protocol) -> Server {
    serve(move |stream| async move {
        let stream = TokioIo::new(stream);
        let answers = service::service_fn(async |request: Request<Incoming>| {
            request.collect().await?;
            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
        });
        // A request that breaks off is also an error here.
        let _ = match protocol {
            Protocol::Http1 => {
                let connection = conn::http1::Builder::new();
                connection.serve_connection(stream, answers).await
            }
            Protocol::Http2 => {
                let connection = conn::http2::Builder::new(TokioExecutor::new());
                connection.serve_connection(stream, answers).await
            }
        };
    })
    .await
}

async fn serve<F, Fut>(connection: F) -> Server
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(stream));
        }
    });
    Server {
        uri,
        has_been_read: Arc::default(),
    }
}

async fn until_headers(stream: &mut TcpStream) {
    const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            return;
        }
    }
}

async fn until_closed(mut stream: TcpStream) {
    // The client may reset the connection.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

impl AsRef<str> for Server {
    fn as_ref(&self) -> &str {
        &self.uri
    }
}

/// A request body whose own source has lost its connection, as in a proxy.
#[derive(Default)]
struct BreaksOff {
    has_begun: bool,
}

impl Body for BreaksOff {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        Poll::Ready(Some(if has_begun {
            Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
        } else {
            Ok(Frame::data(Bytes::from_static(b"half")))
        }))
    }
}

/// An error with another as its source.
#[derive(Debug)]
struct Around<E>(E);

impl<E> fmt::Display for Around<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("around")
    }
}

impl<E: Error + 'static> Error for Around<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
