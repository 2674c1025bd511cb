//! Responses over real sockets.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_health::{
    BoxError, HealthLayer,
    http::{HealthBody, PeekBody},
};

use super::{provider, tokens};

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

/// Calls a server that sends these chunks and closes.
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
