//! The layer with common clients, servers and middleware, over real sockets. Each stack contains an
//! outage and recovers from it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, error_handling::HandleErrorLayer, routing};
use bytes::{Buf, BufMut, Bytes};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PendingRequests},
    retry::{
        Policy,
        budget::{Budget, TpsBudget},
    },
};
use tower_health::{
    BoxError, HealthCache, HealthLayer, Provider, State,
    error::{self, CircuitOpen, Kind},
    http::StatusClassifier,
};
use tower_http::{follow_redirect::FollowRedirectLayer, trace::TraceLayer};

use crate::pair::reqwest_builder;

// Clients.

#[tokio::test]
async fn hyper_client() {
    let upstream = Upstream::start().await;
    let stack = upstream.layer().layer(http_client());
    upstream.assert_outage_is_contained_by(&stack, "/").await;
}

#[tokio::test]
async fn hyper_client_over_rustls() {
    let (upstream, roots) = Upstream::start_with_tls().await;
    let stack = upstream.layer().layer(https_client(roots));
    upstream.assert_outage_is_contained_by(&stack, "/").await;
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwest_client() {
    let upstream = Upstream::start().await;
    let layer = HealthLayer::reqwest(upstream.provider.clone());
    let stack = layer.layer(reqwest_builder().build().unwrap());
    let ask = async || -> Result<String, BoxError> {
        let request = reqwest::Request::new(reqwest::Method::GET, upstream.uri("/").parse()?);
        Ok(stack.clone().oneshot(request).await?.text().await?)
    };
    upstream
        .assert_outage_is_contained(async || ask().await.into())
        .await;
}

#[tokio::test]
async fn tonic_channel() {
    let upstream = Upstream::start().await;
    let channel = Endpoint::from_shared(upstream.uri("/")).unwrap();
    let layer = HealthLayer::grpc(upstream.provider.clone());
    let stack = layer.layer(channel.connect_lazy());
    let ask = async || -> Result<String, BoxError> {
        let mut client = tonic::client::Grpc::new(stack.clone());
        client.ready().await?;
        let request = tonic::Request::new("well".to_owned());
        let response = client.unary(request, ECHO.parse()?, PlainText).await?;
        Ok(response.into_inner())
    };
    upstream
        .assert_outage_is_contained(async || ask().await.into())
        .await;
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn refusal_is_unavailable_to_a_client_of_tonic() {
    let upstream = Upstream::start().await;
    upstream.provider.mark_unhealthy("down");
    upstream.provider.mark_unhealthy("down");
    let channel = Endpoint::from_shared(upstream.uri("/")).unwrap();
    let stack = HealthLayer::grpc(upstream.provider.clone()).layer(channel.connect_lazy());

    let mut client = tonic::client::Grpc::new(stack);
    client.ready().await.unwrap();
    let request = tonic::Request::new("well".to_owned());
    let echo = client.unary(request, ECHO.parse().unwrap(), PlainText);
    let status = echo.await.unwrap_err();

    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("`upstream` is open"), "{status}");
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    let refusal: BoxError = status.into();
    assert!(error::find::<CircuitOpen>(&*refusal).is_some());
}

/// Tonic's client converts errors to a `Status`.
#[cfg(feature = "tonic")]
#[tokio::test]
async fn exhausted_chain_is_unavailable_to_a_client_of_tonic() {
    let chain = tower_health::FallbackChain::grpc().entry(
        HealthCache::default().provider("upstream"),
        tower::service_fn(|()| ready(Err::<Response<Full<Bytes>>, _>(BoxError::from("down")))),
    );
    let status = Status::from_error(chain.oneshot(()).await.unwrap_err());
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let exhausted: BoxError = status.into();
    assert!(error::find::<error::NoHealthyProvider>(&*exhausted).is_some());
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn upload_that_its_caller_breaks_off_is_no_failure_of_a_tonic_channel() {
    let channel = Endpoint::from_shared(format!("http://{}", silent().await)).unwrap();
    let provider = with_a_strike();
    let stack = HealthLayer::grpc(provider.clone()).layer(channel.connect_lazy());
    let body = tonic::body::Body::new(BreaksOff::default());

    let request = Request::post("http://x/s/m").body(body).unwrap();
    stack.oneshot(request).await.map(drop).unwrap_err();

    assert!(provider.is_healthy(), "{:?}", provider.health());
}

#[cfg(feature = "hyper")]
#[tokio::test]
async fn refused_connection_of_reqwest_is_a_connect() {
    let uri = format!("http://{}/", unused_address().await);
    let provider = with_a_strike();
    let stack = HealthLayer::new(provider.clone()).layer(reqwest_builder().build().unwrap());

    let request = reqwest::Request::new(reqwest::Method::GET, uri.parse().unwrap());
    stack.oneshot(request).await.unwrap_err();

    let reason = provider.health().last_error.unwrap();
    assert_eq!(reason.label(), "connect", "{reason}");
}

#[tokio::test]
async fn requests_that_reqwest_will_not_send_are_no_failures() {
    let provider = with_a_strike();
    let stack = HealthLayer::new(provider.clone()).layer(reqwest_builder().build().unwrap());
    for url in ["ftp://127.0.0.1/", "file:///x", "nonsense:thing"] {
        let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        let error = stack.clone().oneshot(request).await.unwrap_err();
        assert_eq!(Kind::of(&*error), Some(Kind::Request), "{url}");
    }
    assert!(provider.is_healthy(), "{:?}", provider.health());
}

// Servers.

#[tokio::test]
async fn axum_router_that_calls_an_upstream() {
    let upstream = Upstream::start().await;
    let router = guarded(&upstream, routes_to(&upstream));
    upstream
        .assert_outage_is_contained(async || get_from(&router, "/one").await)
        .await;
}

/// Rule 12; scenario 15.
#[tokio::test]
async fn axum_routes_share_the_breaker_of_the_layer_that_wraps_each() {
    let upstream = Upstream::start().await;
    let router = guarded(&upstream, routes_to(&upstream));
    upstream.fall();
    assert_eq!(get_from(&router, "/one").await, Served::Failed);
    assert_eq!(get_from(&router, "/two").await, Served::Failed);
    assert_eq!(get_from(&router, "/one").await, Served::Refused);
    assert_eq!(get_from(&router, "/two").await, Served::Refused);
    assert_eq!(upstream.failed_calls(), 2);
}

/// Rule 12; scenario 15.
#[tokio::test]
async fn axum_router_that_is_layered_again_and_again() {
    let upstream = Upstream::start().await;
    let router = guarded(&upstream, routes_to(&upstream));
    let router = guarded(&upstream, Router::new().merge(router));
    let router = guarded(&upstream, Router::new().nest("/nested", router));
    upstream
        .assert_outage_is_contained(async || get_from(&router, "/nested/one").await)
        .await;
}

// Middleware of `tower-http`.

#[tokio::test]
async fn tracing_above() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(upstream.layer())
        .service(http_client());
    upstream.assert_outage_is_contained_by(&stack, "/").await;
}

#[tokio::test]
async fn tracing_below() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .layer(upstream.layer())
        .layer(TraceLayer::new_for_http())
        .service(http_client());
    upstream.assert_outage_is_contained_by(&stack, "/").await;
}

#[tokio::test]
async fn redirects_followed_above() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(upstream.layer())
        .service(http_client());
    upstream
        .assert_outage_is_contained_by(&stack, "/moved")
        .await;
}

#[tokio::test]
async fn redirects_followed_below() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .layer(upstream.layer())
        .layer(FollowRedirectLayer::new())
        .service(http_client());
    upstream
        .assert_outage_is_contained_by(&stack, "/front")
        .await;
}

/// Redirects belong below the layer: above it, each hop is a call, and a hop that works ends the streak.
#[tokio::test]
async fn redirect_that_works_hides_a_target_that_does_not_where_it_is_followed_above() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(upstream.layer())
        .service(http_client());
    upstream.fall();
    for calls in 1..=5 {
        let served = get(&stack, &upstream.uri("/front")).await;
        assert_eq!(served, Served::Failed);
        assert_eq!(upstream.failed_calls(), calls);
        assert_eq!(upstream.provider.health().consecutive_failures, 1);
    }
}

// Middleware of `tower`.

#[tokio::test]
async fn retries_within_a_budget_of_which_refusals_take_nothing() {
    let upstream = Upstream::start().await;
    let budget = budget();
    let stack = ServiceBuilder::new()
        .retry(WithinBudget(Arc::clone(&budget)))
        .layer(upstream.layer())
        .service(http_client());
    upstream.assert_outage_is_contained_by(&stack, "/").await;
    let left = (0..=BUDGET).filter(|_| budget.withdraw()).count();
    assert_eq!(left, BUDGET - 2, "one for each call that failed");
}

#[tokio::test]
async fn all_of_it() {
    let upstream = Upstream::start().await;
    let stack = ServiceBuilder::new()
        .buffer(8)
        .layer(TraceLayer::new_for_http())
        .retry(WithinBudget(budget()))
        .concurrency_limit(8)
        .layer(upstream.layer())
        .timeout(Duration::from_secs(10))
        .layer(FollowRedirectLayer::new())
        .service(http_client());
    upstream
        .assert_outage_is_contained_by(&stack, "/front")
        .await;
}

#[tokio::test]
async fn balancer_over_two_upstreams() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let endpoints = [&one, &other].map(|upstream| {
        let uri = upstream.uri("/");
        let client = http_client()
            .map_request(move |()| Request::get(&uri).body(Full::<Bytes>::default()).unwrap());
        let measured = PendingRequests::new(client, CompleteOnResponse::default());
        upstream.layer().layer(measured)
    });
    let balancer = Balance::new(ServiceList::new(endpoints));
    let stack = ServiceBuilder::new().buffer(8).service(balancer);
    // Enough calls that each endpoint is almost certainly chosen.
    let all_but_well = async || {
        let mut served = Vec::<Served>::new();
        for _ in 0..100 {
            served.push(read(stack.clone().oneshot(())).await.into());
        }
        served.retain(|served| *served != Served::Well);
        served
    };
    assert_eq!(all_but_well().await, []);

    one.fall();
    assert_eq!(all_but_well().await, [Served::Failed, Served::Failed]);
    assert_eq!(one.provider.health().state, State::Open);
    assert_eq!(one.failed_calls(), 2);

    one.rise();
    assert!(one.provider.grant_trial());
    assert_eq!(all_but_well().await, []);
    assert_eq!(one.provider.health().state, State::Closed);
}

// Helpers.

const ECHO: &str = "/echo.Echo/Echo";

/// The result of a call for its caller.
#[derive(Debug, PartialEq)]
enum Served {
    Well,
    Failed,
    Refused,
}

impl From<Result<String, BoxError>> for Served {
    fn from(result: Result<String, BoxError>) -> Self {
        match result {
            Ok(body) => {
                assert_eq!(body, "well");
                Self::Well
            }
            Err(error) if error::find::<CircuitOpen>(&*error).is_some() => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

async fn get<S, B>(stack: &S, uri: &str) -> Served
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Error: Into<BoxError>>,
{
    let request = Request::get(uri).body(Full::default()).unwrap();
    read(stack.clone().oneshot(request)).await.into()
}

/// Awaits a response and reads its whole body.
async fn read<B, E>(
    response: impl Future<Output = Result<Response<B>, E>>,
) -> Result<String, BoxError>
where
    B: Body<Error: Into<BoxError>>,
    E: Into<BoxError>,
{
    let body = response.await.map_err(Into::into)?.into_body();
    let bytes = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(String::from_utf8(bytes.into())?)
}

fn http_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn https_client(roots: RootCertStore) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// A provider that opens at its next failure.
fn with_a_strike() -> Provider {
    let provider = HealthCache::default().provider("upstream");
    provider.mark_unhealthy("strike");
    provider
}

/// An address without a listener.
async fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An HTTP/2 server that takes connections and never answers.
async fn silent() -> SocketAddr {
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&EMPTY_SETTINGS).await.unwrap();
            open.push(stream);
        }
    });
    address
}

/// A request body whose source fails after the first chunk.
#[derive(Default)]
struct BreaksOff {
    has_begun: bool,
}

impl Body for BreaksOff {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        Poll::Ready(Some(if has_begun {
            Err(Status::from_error(io::Error::other("file is gone").into()))
        } else {
            Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x01x")))
        }))
    }
}

/// Two routes that call the upstream.
fn routes_to(upstream: &Upstream) -> Router {
    let (client, uri) = (http_client(), upstream.uri("/"));
    let ask = async move || {
        let request = Request::get(uri).body(Full::default()).unwrap();
        let answer = read(client.request(request)).await;
        answer.map_err(|_| StatusCode::BAD_GATEWAY)
    };
    Router::new()
        .route("/one", routing::get(ask.clone()))
        .route("/two", routing::get(ask))
}

/// A router with the upstream's layer around it.
fn guarded(upstream: &Upstream, router: Router) -> Router {
    let say_so = async |refusal: BoxError| (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string());
    router.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(say_so))
            .layer(upstream.layer()),
    )
}

async fn get_from(router: &Router, path: &str) -> Served {
    let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    match response.status() {
        StatusCode::OK => read(ready(io::Result::Ok(response))).await.into(),
        StatusCode::BAD_GATEWAY => Served::Failed,
        StatusCode::SERVICE_UNAVAILABLE => Served::Refused,
        status => panic!("{status}"),
    }
}

/// Retries failures at once, within the budget. A refusal is not retried, because it would repeat.
#[derive(Clone)]
struct WithinBudget(Arc<TpsBudget>);

/// Retries per minute.
const BUDGET: usize = 60;

fn budget() -> Arc<TpsBudget> {
    let (in_a_minute, each_second, for_each_call) = (Duration::from_secs(60), 1, 0.0);
    Arc::new(TpsBudget::new(in_a_minute, each_second, for_each_call))
}

impl<Req: Clone, Res> Policy<Req, Res, BoxError> for WithinBudget {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Req, result: &mut Result<Res, BoxError>) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        let is_refused = error::find::<CircuitOpen>(&**error).is_some();
        (!is_refused && self.0.withdraw()).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

/// A codec of plain-text gRPC messages, which needs no generated code.
#[derive(Default)]
struct PlainText;

impl Codec for PlainText {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for PlainText {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for PlainText {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(String::from_utf8(text.into()).unwrap()))
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server on a real socket that can be down, and its provider.
struct Upstream {
    provider: Provider,
    scheme: &'static str,
    address: SocketAddr,
    condition: Arc<Condition>,
}

#[derive(Default)]
struct Condition {
    is_down: AtomicBool,
    failed_calls: AtomicUsize,
}

impl Upstream {
    async fn start() -> Self {
        Self::serve("http", None).await
    }

    /// Starts a server with TLS, and returns the root certificates to trust.
    async fn start_with_tls() -> (Self, RootCertStore) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.into()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::serve("https", Some(acceptor)).await, roots)
    }

    async fn serve(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            provider: HealthCache::default().provider("upstream"),
            scheme,
            address: listener.local_addr().unwrap(),
            condition: Arc::default(),
        };
        let condition = Arc::clone(&upstream.condition);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, tls.clone(), Arc::clone(&condition)));
            }
        });
        upstream
    }

    fn layer(&self) -> HealthLayer<StatusClassifier> {
        HealthLayer::http(self.provider.clone())
    }

    fn uri(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    fn fall(&self) {
        self.condition.is_down.store(true, SeqCst);
    }

    fn rise(&self) {
        self.condition.is_down.store(false, SeqCst);
    }

    /// The number of calls that came while it was down.
    fn failed_calls(&self) -> usize {
        self.condition.failed_calls.load(SeqCst)
    }

    async fn assert_outage_is_contained_by<S, B>(&self, stack: &S, path: &str)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
        B: Body<Error: Into<BoxError>>,
    {
        self.assert_outage_is_contained(async || get(stack, &self.uri(path)).await)
            .await;
    }

    /// Takes a stack through an outage of its upstream. Only the calls that trip the breaker and one trial reach it.
    async fn assert_outage_is_contained(&self, ask: impl AsyncFn() -> Served) {
        assert_eq!(ask().await, Served::Well);
        assert_eq!(self.failed_calls(), 0);

        self.fall();
        // With retries, one call is enough.
        for _ in 0..2 {
            assert_ne!(ask().await, Served::Well);
        }
        assert_eq!(self.provider.health().state, State::Open);
        for _ in 0..5 {
            assert_eq!(ask().await, Served::Refused);
        }
        assert_eq!(self.failed_calls(), 2);

        self.rise();
        assert!(self.provider.grant_trial());
        assert_eq!(ask().await, Served::Well);
        assert_eq!(self.provider.health().state, State::Closed);
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, condition: Arc<Condition>) {
    let answer = hyper::service::service_fn(|request| {
        let condition = Arc::clone(&condition);
        async move { condition.answer(request).await }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // While the server is down, connections end with an error.
    let _ = match tls {
        None => server.serve_connection(TokioIo::new(stream), answer).await,
        Some(tls) => {
            let stream = tls.accept(stream).await.unwrap();
            server.serve_connection(TokioIo::new(stream), answer).await
        }
    };
}

impl Condition {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        match request.uri().path() {
            // Redirects even while the server is down.
            "/front" => Ok(redirect()),
            path if self.is_down.load(SeqCst) => {
                self.failed_calls.fetch_add(1, SeqCst);
                let is_grpc = path == ECHO;
                is_grpc.then(unavailable).ok_or(io::Error::other("down"))
            }
            ECHO => Ok(echo(request.into_body()).await),
            "/moved" => Ok(redirect()),
            _ => Ok(Response::new(Full::from("well").boxed())),
        }
    }
}

fn redirect() -> Answer {
    let response = Response::builder().status(302).header("location", "/");
    response.body(Empty::new().boxed()).unwrap()
}

fn unavailable() -> Answer {
    let response = grpc_response().header("grpc-status", 14);
    response.body(Empty::new().boxed()).unwrap()
}

async fn echo(message: Incoming) -> Answer {
    let message = message.collect().await.unwrap().to_bytes();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
    let body = Full::new(message).with_trailers(ready(Some(Ok(trailers))));
    grpc_response().body(body.boxed()).unwrap()
}

fn grpc_response() -> hyper::http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}
