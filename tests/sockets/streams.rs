//! Stream ends over real connections: readers who stop at the last event, gateways whose callers hang up,
//! truncated bodies, upgraded connections.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower::{Layer, ServiceExt};
use tower_health::{
    Backoff, BoxError, Health, HealthCache, HealthLayer, Policy, Provider, State,
    http::{HealthBody, StatusClassifier, StreamVerdict},
};

use crate::{
    pair::MILLISECOND,
    server::{Script, Server},
};

type Guarded = Health<Client<HttpConnector, Empty<Bytes>>, StatusClassifier>;

/// The delay between the last event and the end of a stream.
const GAPS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(2)];

#[tokio::test]
async fn readers_who_stop_at_the_last_event_close_a_half_open_breaker() {
    for gap in GAPS {
        let a = Server::start(move |_| done(gap));
        let provider = half_open().await;
        let client = http_1(&provider, StatusClassifier::new());
        for _ in 0..10 {
            let response = get(&client, a.address()).await.unwrap();
            read_to_done(response.into_body()).await;
            sleep(10 * MILLISECOND).await;
        }
        assert_eq!(provider.health().state, State::Closed, "{gap:?}");
    }
}

#[tokio::test]
async fn so_do_those_over_http_2() {
    fn at_once(stream: &[u8]) -> Vec<Act> {
        let end = frame(0, 1, stream, b"");
        vec![Act::Send([last_event(stream), end].concat())]
    }
    fn later(stream: &[u8]) -> Vec<Act> {
        let end = frame(0, 1, stream, b"");
        let pause = Act::Pause(2 * MILLISECOND);
        vec![Act::Send(last_event(stream)), pause, Act::Send(end)]
    }
    /// `:status 200`, then the event.
    fn last_event(stream: &[u8]) -> Vec<u8> {
        let data = frame(0, 0, stream, b"data: [DONE]\n\n");
        [frame(1, 4, stream, &[0x88]), data].concat()
    }
    for answer in [at_once, later] {
        let address = http_2_server(answer).await;
        let provider = half_open().await;
        let client = http_2(&provider);
        for _ in 0..10 {
            let response = get(&client, address).await.unwrap();
            read_to_done(response.into_body()).await;
            sleep(10 * MILLISECOND).await;
        }
        assert_eq!(provider.health().state, State::Closed);
    }
}

#[tokio::test]
async fn a_stream_that_is_read_to_its_end_closes_at_once() {
    let a = Server::start(|_| done(2 * MILLISECOND));
    let provider = half_open().await;
    let client = http_1(&provider, StatusClassifier::new());
    let response = get(&client, a.address()).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(provider.health().state, State::Closed);
}

/// The gateway polls on and does not learn why its caller left.
#[tokio::test]
async fn a_gateway_whose_callers_hang_up_at_the_last_event_closes_where_events_are_judged() {
    let a = Server::start(|_| done(Duration::from_secs(3600)));
    let upstream = a.address();
    let provider = half_open().await;
    let classifier = StatusClassifier::new().judge_sse(|event| match event.data {
        "[DONE]" => StreamVerdict::Done,
        _ => StreamVerdict::Continue,
    });
    let client = http_1(&provider, classifier);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let forward = service_fn(|_| get(&client, upstream));
        let server = http1::Builder::new();
        // Fails if the caller is gone.
        let _ = server.serve_connection(TokioIo::new(socket), forward).await;
    });

    let mut caller = TcpStream::connect(gateway).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n";
    caller.write_all(request).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: [DONE]\n\n\r\n") {
        assert_ne!(caller.read_buf(&mut seen).await.unwrap(), 0);
    }
    drop(caller);

    assert_eq!(provider.health().state, State::Closed);
}

/// Envoy resets streams with `NO_ERROR` even after an upstream failure (envoyproxy/envoy#36200), and hyper takes
/// that for the end of a body (hyperium/hyper#3681).
#[tokio::test]
async fn fewer_bytes_than_announced_are_a_failure_where_the_stream_was_reset_without_error() {
    fn cut_off(stream: &[u8]) -> Vec<Act> {
        // `:status 200`, `content-length: 100`
        let head = [&[0x88, 0x0F, 0x0D, 3][..], b"100"].concat();
        let data = frame(0, 0, stream, b"ten bytes.");
        let no_error = frame(3, 0, stream, &[0; 4]);
        vec![
            Act::Send([frame(1, 4, stream, &head), data].concat()),
            Act::Pause(30 * MILLISECOND),
            Act::Send(no_error),
        ]
    }
    let address = http_2_server(cut_off).await;
    let provider = HealthCache::default().provider("a");
    provider.mark_unhealthy("a strike");
    let client = http_2(&provider);

    let response = get(&client, address).await.unwrap();
    let read = response.into_body().collect().await.unwrap();

    assert_eq!(read.to_bytes(), "ten bytes.");
    assert_eq!(provider.health().state, State::Open);
    assert_eq!(provider.health().last_error.unwrap(), "incomplete");
}

/// The response decides the outcome. The upgraded connection belongs to the caller.
#[tokio::test]
async fn a_connection_that_is_upgraded_works_and_closes_a_half_open_breaker() {
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    let a = Server::start(move |_| {
        let switched = Script::default().head("101 Switching Protocols", &upgrade);
        switched.send("hello").hang()
    });
    let provider = half_open().await;
    let client = http_1(&provider, StatusClassifier::new());
    let mut request = request(a.address());
    for (name, value) in upgrade {
        request.headers_mut().insert(name, value.parse().unwrap());
    }

    let response = client.oneshot(request).await.unwrap();

    assert_eq!(response.status(), 101);
    assert_eq!(provider.health().state, State::Closed);
    let mut upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut hello = [0; 5];
    upgraded.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test]
async fn early_hints_are_no_answer() {
    let a = Server::start(|_| {
        let hints = [("link", "</a.css>; rel=preload")];
        let early = Script::default().head("103 Early Hints", &hints);
        early.then(Script::well("a")).keep()
    });
    let provider = HealthCache::default().provider("a");
    provider.mark_unhealthy("a strike");
    let client = http_1(&provider, StatusClassifier::new());

    for _ in 0..5 {
        let response = get(&client, a.address()).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "from a");
    }
    assert_eq!(provider.health().consecutive_failures, 0);
}

/// A stream that ends `gap` after its last event.
fn done(gap: Duration) -> Script {
    let stream = Script::events().chunk("data: hi\n\n");
    stream
        .chunk("data: [DONE]\n\n")
        .pause(gap)
        .last_chunk()
        .keep()
}

async fn half_open() -> Provider {
    let policy = Policy::new().backoff(Backoff::constant(MILLISECOND));
    let provider = HealthCache::new(policy).provider("a");
    provider.mark_unhealthy("down");
    provider.mark_unhealthy("down");
    while provider.health().state == State::Open {
        sleep(MILLISECOND).await;
    }
    provider
}

fn http_1(provider: &Provider, classifier: StatusClassifier) -> Guarded {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let layer = HealthLayer::new(provider.clone());
    layer.classify(classifier).layer(client)
}

fn http_2(provider: &Provider) -> Guarded {
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build_http();
    HealthLayer::http(provider.clone()).layer(client)
}

async fn get(
    client: &Guarded,
    address: SocketAddr,
) -> Result<Response<HealthBody<Incoming>>, BoxError> {
    client.clone().oneshot(request(address)).await
}

fn request(address: SocketAddr) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("http://{address}/"));
    request.body(Empty::new()).unwrap()
}

/// Reads to the last event, as clients of language models do.
async fn read_to_done(mut body: HealthBody<Incoming>) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: [DONE]\n\n") {
        let frame = body.frame().await.unwrap().unwrap();
        seen.extend_from_slice(&frame.into_data().unwrap());
    }
}

/// An action of an HTTP/2 server.
enum Act {
    Send(Vec<u8>),
    Pause(Duration),
}

/// An HTTP/2 server that answers each request with these actions on its stream.
async fn http_2_server(answer: fn(&[u8]) -> Vec<Act>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // Fails if the client is gone.
            tokio::spawn(serve_http_2(socket, answer));
        }
    });
    address
}

async fn serve_http_2(mut socket: TcpStream, answer: fn(&[u8]) -> Vec<Act>) -> io::Result<()> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    socket.set_nodelay(true)?;
    socket.read_exact(&mut [0; 24]).await?;
    socket.write_all(&frame(SETTINGS, 0, &[0; 4], b"")).await?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        socket.read_exact(&mut payload).await?;
        match (head[3], head[4]) {
            (SETTINGS, 0) => socket.write_all(&frame(SETTINGS, 1, &[0; 4], b"")).await?,
            (HEADERS, _) => {
                for act in answer(&head[5..]) {
                    match act {
                        Act::Send(bytes) => socket.write_all(&bytes).await?,
                        Act::Pause(pause) => sleep(pause).await,
                    }
                }
            }
            _ => {}
        }
    }
}

/// An HTTP/2 frame ([RFC 9113 §4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1)).
fn frame(kind: u8, flags: u8, stream: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], stream, payload].concat()
}
