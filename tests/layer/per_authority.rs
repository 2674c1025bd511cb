//! One HTTP client of many hosts, with a breaker for each scheme, host and port.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, Uri,
    header::{HOST, RETRY_AFTER},
    server::conn::http1,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpSocket};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_health::{
    BoxError, Cause, HealthCache, HealthLayer, KeyedHealthLayer, Outcome, Policy, State, Throttle,
    error::{self, CircuitOpen},
    http::{HealthBody, PerAuthority, StatusClassifier},
};

// Ids.

#[tokio::test(start_paused = true)]
async fn uris_of_one_origin_have_one_readable_id() {
    for (uri, id) in [
        (
            "https://api.example.com/v1/models?page=2",
            "https://api.example.com",
        ),
        ("http://api.example.com", "http://api.example.com"),
        ("http://10.0.0.1:8080/", "http://10.0.0.1:8080"),
        // Case.
        ("https://API.Example.COM/V1", "https://api.example.com"),
        ("HTTPS://api.example.com/", "https://api.example.com"),
        ("Ws://API.example.com/", "ws://api.example.com"),
        // Ports.
        ("https://api.example.com:443/", "https://api.example.com"),
        ("https://api.example.com:0443/", "https://api.example.com"),
        ("http://api.example.com:80/", "http://api.example.com"),
        ("wss://api.example.com:443/", "wss://api.example.com"),
        ("ws://api.example.com:80/", "ws://api.example.com"),
        ("http://api.example.com:443/", "http://api.example.com:443"),
        ("https://api.example.com:80/", "https://api.example.com:80"),
        (
            "https://api.example.com:8443/",
            "https://api.example.com:8443",
        ),
        ("https://api.example.com:/", "https://api.example.com"),
        ("grpc://api.example.com:443/", "grpc://api.example.com:443"),
        ("https://api.example.com:99999/", "https://api.example.com"),
        // The dot of the root domain.
        ("https://api.example.com./", "https://api.example.com"),
        (
            "https://api.example.com.:8443/",
            "https://api.example.com:8443",
        ),
        // User information.
        (
            "https://user:secret@api.example.com/",
            "https://api.example.com",
        ),
        (
            "https://user@api.example.com:8443/",
            "https://api.example.com:8443",
        ),
        // IPv6.
        ("http://[::1]/", "http://[::1]"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://[2001:DB8:0:0:0:0:0:1]:80/", "http://[2001:db8::1]"),
        (
            "https://user@[2001:db8::1]:8443/",
            "https://[2001:db8::1]:8443",
        ),
        // An authority alone, as in `CONNECT`.
        ("API.example.com:443", "api.example.com:443"),
    ] {
        assert_eq!(id_of(uri).await.as_deref(), Some(id), "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn scheme_host_and_port_tell_providers_apart() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::OK);

    for uri in [
        "http://a.example/",
        "https://a.example/",
        "https://a.example:8443/",
        "https://b.a.example/",
    ] {
        send(&mut client, get(uri)).await.unwrap();
    }

    assert_eq!(cache.snapshot().providers.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn secret_in_the_uri_is_not_shown() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::BAD_GATEWAY);

    for _ in 0..2 {
        let request = get("https://user:secret@a.example/?key=secret");
        send(&mut client, request).await.unwrap();
    }

    let refusal = send(&mut client, get("https://a.example/")).await;
    let refusal = refusal.unwrap_err().to_string();
    assert!(refusal.contains("https://a.example"), "{refusal}");
    assert!(!format!("{refusal} {cache:?}").contains("secret"));
}

/// Scenario 21.
#[tokio::test(start_paused = true)]
async fn request_without_an_authority_passes() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::BAD_GATEWAY);

    for uri in ["/v1/models", "*", "https://./", "https://user@:443/"] {
        for _ in 0..3 {
            send(&mut client, get(uri)).await.unwrap();
        }
    }

    assert!(cache.snapshot().providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn host_header_is_not_looked_at() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::OK);
    let with_host = |uri| {
        let mut request = get(uri);
        let host = "front.example".parse().unwrap();
        request.headers_mut().insert(HOST, host);
        request
    };

    send(&mut client, with_host("/")).await.unwrap();
    send(&mut client, with_host("https://back.example/"))
        .await
        .unwrap();

    assert_eq!(known(&cache), ["https://back.example"]);
}

#[tokio::test(start_paused = true)]
async fn host_that_is_too_long_for_a_name_passes() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::BAD_GATEWAY);
    let longest = format!("https://{}.example", "a".repeat(245));
    let too_long = format!("https://{}.example", "a".repeat(1000));

    for _ in 0..5 {
        send(&mut client, get(&too_long)).await.unwrap();
    }
    send(&mut client, get(&longest)).await.unwrap();

    assert_eq!(known(&cache), [longest]);
}

// Calls.

#[tokio::test(start_paused = true)]
async fn responses_are_judged_by_their_status() {
    let without_jitter = Policy::new().throttle(Throttle::default().jitter(0.0));
    let cache = HealthCache::new(without_jitter);
    let mut throttled = client(&cache, StatusCode::TOO_MANY_REQUESTS);
    let mut blameless = client(&cache, StatusCode::NOT_FOUND);

    send(&mut throttled, get("https://a.example/"))
        .await
        .unwrap();
    for _ in 0..5 {
        send(&mut blameless, get("https://b.example/"))
            .await
            .unwrap();
    }

    let a = cache.get("https://a.example").unwrap().health();
    assert_eq!((a.state, a.cause), (State::Open, Some(Cause::Throttled)));
    assert_eq!(a.retry_in, Some(Duration::from_secs(7)));
    assert!(cache.is_healthy("https://b.example"));
}

#[tokio::test(start_paused = true)]
async fn classifier_can_be_changed() {
    let cache = HealthCache::default();
    let layer = HealthLayer::per_authority(&cache)
        .classify(StatusClassifier::new().neutral_on([502]))
        .max_providers(10);
    let mut client = layer.layer(answering(StatusCode::BAD_GATEWAY));

    for _ in 0..5 {
        send(&mut client, get("https://a.example/")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn key_serves_other_classifiers() {
    let cache = HealthCache::default();
    let fatal = |_: Result<&Response<String>, &Infallible>| Outcome::fatal("enough");
    let layer = KeyedHealthLayer::new(&cache, PerAuthority).classify_with(fatal);
    let mut client = layer.layer(answering(StatusCode::OK));

    send(&mut client, get("https://a.example/")).await.unwrap();

    assert!(!cache.is_healthy("https://a.example"));
}

/// Three servers on real sockets: one answers with 503, one refuses connections, one works.
#[tokio::test]
async fn hosts_that_are_down_leave_another_untouched_on_one_client() {
    let cache = HealthCache::default();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut client = HealthLayer::per_authority(&cache).layer(client);
    let failing = serve(StatusCode::SERVICE_UNAVAILABLE).await;
    let working = serve(StatusCode::OK).await;
    let (_socket, refusing) = refuse();
    let mut call = async |server: SocketAddr| {
        let uri: Uri = format!("http://{server}/").parse().unwrap();
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        let response = client.ready().await.unwrap().call(request).await;
        response.map(|response| response.status())
    };

    for _ in 0..2 {
        assert_eq!(call(failing).await.unwrap(), 503);
        let error = call(refusing).await.unwrap_err();
        assert!(error::find::<io::Error>(&*error).is_some());
        assert_eq!(call(working).await.unwrap(), 200);
    }

    for down in [failing, refusing] {
        let error = call(down).await.unwrap_err();
        let refusal = error::find::<CircuitOpen>(&*error).unwrap();
        assert_eq!(refusal.provider(), format!("http://{down}"));
    }
    assert_eq!(call(working).await.unwrap(), 200);
}

// Cost.

#[test]
fn id_is_found_without_an_allocation() {
    let cache = HealthCache::default();
    let mut client = client(&cache, StatusCode::OK);
    let uris = [
        "https://api.example.com/v1/models",
        "HTTPS://user@API.example.com.:443/v1/models",
        "http://[2001:DB8:0:0:0:0:0:1]:8080/",
    ];
    for uri in uris {
        assert!(drive(&mut client, get(uri)).is_ok());
    }
    let requests = uris.map(get);

    let allocated = measure(|| {
        for request in requests {
            assert!(drive(&mut client, request).is_ok());
        }
    });

    assert_eq!(allocated.count_total, 0);
    assert_eq!(cache.snapshot().providers.len(), 2);
}

// Parts.

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

fn answering(
    status: StatusCode,
) -> impl Service<
    Request<()>,
    Response = Response<String>,
    Error = Infallible,
    Future = Ready<Result<Response<String>, Infallible>>,
> {
    service_fn(move |_: Request<()>| {
        let mut response = Response::new(String::new());
        *response.status_mut() = status;
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 7.into());
        }
        ready(Ok(response))
    })
}

fn client(
    cache: &HealthCache,
    status: StatusCode,
) -> impl Service<Request<()>, Response = Response<HealthBody<String>>, Error = BoxError> + use<> {
    HealthLayer::per_authority(cache).layer(answering(status))
}

async fn send<S, B>(client: &mut S, request: Request<()>) -> Result<StatusCode, BoxError>
where
    S: Service<Request<()>, Response = Response<B>, Error = BoxError>,
{
    let response = client.ready().await?.call(request).await?;
    Ok(response.status())
}

/// Polls by hand: an executor would allocate.
fn drive<S, B>(client: &mut S, request: Request<()>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<()>, Response = Response<B>, Error = BoxError>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(client.poll_ready(&mut context).is_ready());
    match pin!(client.call(request)).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the inner service answers at once"),
    }
}

/// Returns the id of the only provider that a call to `uri` creates.
async fn id_of(uri: &str) -> Option<String> {
    let cache = HealthCache::default();
    send(&mut client(&cache, StatusCode::OK), get(uri))
        .await
        .unwrap();
    known(&cache).pop()
}

fn known(cache: &HealthCache) -> Vec<String> {
    let providers = cache.snapshot().providers;
    providers.iter().map(|row| row.id.to_string()).collect()
}

/// A server that answers every request with `status`.
async fn serve(status: StatusCode) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = hyper::service::service_fn(move |_| {
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = status;
                ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// An address on which nothing listens as long as the socket is kept.
fn refuse() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
