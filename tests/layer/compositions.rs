//! The layer among tower's other middleware: every stack contains an outage and recovers from it.

use std::{
    future::{Ready, pending, ready},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, server::conn::http1};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{Instant, Sleep, advance, sleep, timeout},
};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Constant, PendingRequests},
    load_shed::error::Overloaded,
    reconnect::Reconnect,
    retry::{Policy, Retry},
    service_fn,
    steer::Steer,
    timeout::{Timeout, error::Elapsed},
    util::{BoxCloneService, BoxCloneSyncService, BoxService},
};
use tower_health::{
    BoxError, Health, HealthCache, HealthLayer, Provider, State,
    error::{self, CircuitOpen},
};
use tower_test::mock::{self, Spawn};

use crate::outage::{OPEN_WINDOW, half_open, trip};

const TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

// An outage, from the first failure to the first success.

#[tokio::test(start_paused = true)]
async fn recommended_stack_contains_an_outage() {
    assert_outage_is_contained(recommended).await;
}

#[tokio::test(start_paused = true)]
async fn boxed_stack_contains_an_outage() {
    assert_outage_is_contained(|provider, client| BoxService::new(recommended(provider, client)))
        .await;
}

#[tokio::test(start_paused = true)]
async fn stack_boxed_to_be_cloned_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        cloned_for_each_call(BoxCloneService::new(recommended(provider, client)))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_boxed_to_be_cloned_and_shared_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        cloned_for_each_call(BoxCloneSyncService::new(recommended(provider, client)))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_over_a_boxed_client_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        recommended(provider, BoxCloneSyncService::new(client))
    })
    .await;
}

/// Scenario 20: the buffer's worker survives.
#[tokio::test(start_paused = true)]
async fn stack_behind_a_buffer_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let stack = recommended(provider, client);
        cloned_for_each_call(ServiceBuilder::new().buffer(4).service(stack))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_over_a_buffer_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        recommended(provider, ServiceBuilder::new().buffer(4).service(client))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retries_over_a_buffer_over_the_layer_contain_an_outage() {
    assert_outage_is_contained(|provider, client| {
        ServiceBuilder::new()
            .retry(UnlessOpen::new(RETRY_PAUSE))
            .buffer(4)
            .layer(HealthLayer::new(provider))
            .service(client)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_inside_a_concurrency_limit_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let stack = recommended(provider, client);
        cloned_for_each_call(ServiceBuilder::new().concurrency_limit(1).service(stack))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_over_a_concurrency_limit_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let limited = ServiceBuilder::new().concurrency_limit(1).service(client);
        cloned_for_each_call(recommended(provider, limited))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_inside_load_shedding_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let stack = recommended(provider, client);
        ServiceBuilder::new().load_shed().service(stack)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stack_over_load_shedding_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        recommended(provider, ServiceBuilder::new().load_shed().service(client))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn layer_behind_a_balancer_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let guarded = HealthLayer::new(provider).layer(client);
        let endpoint = PendingRequests::new(guarded, CompleteOnResponse::default());
        ServiceBuilder::new()
            .retry(UnlessOpen::new(RETRY_PAUSE))
            .buffer(4)
            .service(Balance::new(ServiceList::new::<&'static str>([endpoint])))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn layer_behind_a_steering_service_contains_an_outage() {
    assert_outage_is_contained(|provider, client| {
        let guarded = HealthLayer::new(provider).layer(client);
        ServiceBuilder::new()
            .retry(UnlessOpen::new(RETRY_PAUSE))
            .buffer(4)
            .service(Steer::new([guarded], |_: &&'static str, _: &[_]| 0))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_and_futures_that_are_not_send_pass_through_the_stack() {
    let client = service_fn(async |request: Rc<str>| {
        let held_over_an_await = Rc::clone(&request);
        yield_now().await;
        io::Result::Ok(held_over_an_await)
    });
    let mut stack = recommended(provider(), client);
    let request: Rc<str> = "hi".into();

    let response = stack.ready().await.unwrap().call(Rc::clone(&request)).await;
    assert!(Rc::ptr_eq(&response.unwrap(), &request));
}

// Clients that hang.

#[tokio::test(start_paused = true)]
async fn timeout_inside_the_layer_is_a_failure() {
    let provider = provider();
    let (mock, _handle) = mock::pair::<&str, &str>();
    let layer = HealthLayer::new(provider.clone());
    let service = layer.layer(Timeout::new(mock, TIMEOUT));
    for failures in 1..=2 {
        let error = service.clone().oneshot("hi").await.unwrap_err();
        assert!(error::find::<Elapsed>(&*error).is_some());
        assert_eq!(provider.health().consecutive_failures, failures);
    }
    assert_eq!(provider.health().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn trial_that_times_out_opens_again_and_is_not_retried() {
    let provider = provider();
    let (mock, mut handle) = mock::pair::<&str, &str>();
    let stack = recommended(provider.clone(), mock);
    half_open(&provider).await;

    assert_refused(stack.clone().oneshot("trial").await);
    assert_eq!(provider.health().state, State::Open);
    let reached = [(); 2].map(|()| handle.poll_request().is_ready());
    assert_eq!(reached, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_refused_while_hung_ones_fill_the_limit_inside() {
    let provider = provider();
    let stack = ServiceBuilder::new()
        .layer(HealthLayer::new(provider.clone()))
        .concurrency_limit(1)
        .service(service_fn(|()| pending::<io::Result<()>>()));
    let mut hung = Spawn::new(stack.clone());
    assert_ready_ok!(hung.poll_ready());
    let _hung_call = hung.call(());
    let mut next = Spawn::new(stack);
    assert_pending!(next.poll_ready());

    trip(&provider);
    assert_ready_ok!(next.poll_ready());
    assert_refused(next.call(()).await);
}

#[tokio::test(start_paused = true)]
async fn refused_calls_give_back_the_slots_of_the_limit_outside() {
    let provider = provider();
    let backend = Backend::default();
    let mut stack = Spawn::new(
        ServiceBuilder::new()
            .concurrency_limit(1)
            .layer(HealthLayer::new(provider.clone()))
            .service(backend),
    );
    trip(&provider);
    for _ in 0..3 {
        assert_ready_ok!(stack.poll_ready());
        assert_refused(stack.call("hi").await);
    }
}

// Middleware that depends on readiness.

/// Scenario 20.
#[tokio::test(start_paused = true)]
async fn load_is_shed_where_the_client_is_busy_and_refused_where_it_is_down() {
    let provider = provider();
    let (mock, mut handle) = mock::pair::<&str, &str>();
    handle.allow(0);
    let mut stack = ServiceBuilder::new()
        .load_shed()
        .layer(HealthLayer::new(provider.clone()))
        .service(mock);

    let error = stack.ready().await.unwrap().call("busy").await.unwrap_err();
    assert!(error.is::<Overloaded>());
    trip(&provider);
    assert_refused(stack.ready().await.unwrap().call("down").await);
}

/// Rule 4; scenario 42.
#[tokio::test(start_paused = true)]
async fn of_many_buffered_calls_one_is_the_trial_and_the_others_do_not_wait_for_it() {
    let provider = provider();
    let (mock, mut handle) = mock::pair::<usize, usize>();
    let stack = ServiceBuilder::new()
        .buffer(80)
        .layer(HealthLayer::new(provider.clone()))
        .service(mock);
    half_open(&provider).await;
    let calls: Vec<_> = (0..80)
        .map(|request| tokio::spawn(stack.clone().oneshot(request)))
        .collect();

    let (trial, respond) = handle.next_request().await.unwrap();
    for (request, call) in calls.into_iter().enumerate() {
        if request == trial {
            continue;
        }
        assert_refused(call.await.unwrap());
    }
    assert_eq!(provider.health().state, State::HalfOpen);
    assert!(handle.poll_request().is_pending());
    respond.send_response(trial);
}

#[tokio::test(start_paused = true)]
async fn sick_endpoint_neither_holds_up_a_balancer_nor_is_lost_to_it() {
    let (well, sick) = (provider(), provider());
    let (well_mock, mut well_handle) = mock::pair::<&str, &str>();
    let (sick_mock, mut sick_handle) = mock::pair::<&str, &str>();
    let endpoints = [
        Constant::new(HealthLayer::new(well).layer(well_mock), 0),
        Constant::new(HealthLayer::new(sick.clone()).layer(sick_mock), 1),
    ];
    let mut balancer = Spawn::new(Balance::new(ServiceList::new::<&str>(endpoints)));
    trip(&sick);
    sick_handle.send_error("an endpoint that says so is dropped");

    assert_ready_ok!(balancer.poll_ready());
    let mut call = task::spawn(balancer.call("hi"));
    let (_, respond) = well_handle.next_request().await.unwrap();
    respond.send_response("well");
    assert_ready_ok!(call.poll());
    assert_ready_ok!(balancer.poll_ready());
    assert_eq!(balancer.get_ref().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn sick_shard_does_not_hold_up_the_others() {
    let (well, sick) = (provider(), provider());
    let (well_mock, mut well_handle) = mock::pair::<&str, &str>();
    let (sick_mock, mut sick_handle) = mock::pair::<&str, &str>();
    let shards = [
        HealthLayer::new(well).layer(well_mock),
        HealthLayer::new(sick.clone()).layer(sick_mock),
    ];
    let by_name = |request: &&str, _: &[_]| usize::from(*request == "sick");
    let mut steer = Spawn::new(Steer::new(shards, by_name));
    sick_handle.allow(0);
    trip(&sick);

    assert_ready_ok!(steer.poll_ready());
    assert_refused(steer.call("sick").await);
    assert_ready_ok!(steer.poll_ready());
    let _call = steer.call("well");
    assert!(well_handle.poll_request().is_ready());
}

// The order of layers.

#[tokio::test(start_paused = true)]
async fn load_that_is_shed_inside_the_layer_says_nothing_of_the_provider() {
    let provider = provider();
    let (busy_mock, mut handle) = mock::pair::<&str, &str>();
    handle.allow(0);
    let mut stack = ServiceBuilder::new()
        .layer(HealthLayer::new(provider.clone()))
        .load_shed()
        .service(busy_mock);

    for _ in 0..2 {
        let error = call(&mut stack).await.unwrap_err();
        assert!(error.is::<Overloaded>());
    }
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn refused_call_keeps_its_slot_of_a_limit_inside_for_as_long_as_its_service_lives() {
    let provider = provider();
    let stack = ServiceBuilder::new()
        .layer(HealthLayer::new(provider.clone()))
        .concurrency_limit(1)
        .service(Backend::default());
    let (mut refused, mut next) = (Spawn::new(stack.clone()), Spawn::new(stack));
    assert_ready_ok!(refused.poll_ready());
    trip(&provider);
    assert_refused(refused.call("hi").await);

    provider.mark_healthy();
    assert_pending!(next.poll_ready());
    drop(refused);
    assert_ready_ok!(next.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn client_that_hangs_before_it_is_ready_is_not_seen_to_fail() {
    let provider = provider();
    let mut stack = connecting_by(hanging(), &provider);
    let a_day = Duration::from_secs(24 * 60 * 60);
    timeout(a_day, call(&mut stack)).await.unwrap_err();
    assert_eq!(provider.health().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn client_that_connects_within_a_time_of_its_own_is_seen_to_fail() {
    let provider = provider();
    let bounded = BoxService::new(Timeout::new(hanging(), TIMEOUT));
    let mut stack = connecting_by(bounded, &provider);
    for _ in 0..2 {
        let error = call(&mut stack).await.unwrap_err();
        assert!(error::find::<Elapsed>(&*error).is_some());
    }
    assert_refused(call(&mut stack).await);
}

// Real sockets.

#[tokio::test]
async fn outage_of_a_server_that_hangs_up_is_contained() {
    let server = Server::start(Manner::HangsUp).await;
    let provider = provider();
    let mut stack = over_sockets(&provider, TIMEOUT);
    for _ in 0..5 {
        assert_refused(server.get(&mut stack).await);
    }
    assert_eq!(server.connections(), 2);

    server.behave(Manner::Answers);
    assert!(provider.grant_trial());
    assert_eq!(server.get(&mut stack).await.unwrap(), "well");
    assert_eq!(provider.health().state, State::Closed);
    assert_eq!(server.connections(), 3);
}

/// Scenario 32.
#[tokio::test]
async fn outage_of_a_server_that_never_answers_is_contained() {
    let server = Server::start(Manner::NeverAnswers).await;
    let provider = provider();
    let mut stack = over_sockets(&provider, Duration::from_millis(50));
    for _ in 0..5 {
        assert_refused(server.get(&mut stack).await);
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(
        provider.health().last_error.unwrap(),
        "timeout: request timed out"
    );
}

// Helpers.

type HyperClient = Client<HttpConnector, Full<Bytes>>;
type Recommended<S> = Retry<UnlessOpen, Health<Timeout<S>>>;

fn recommended<S>(provider: Provider, client: S) -> Recommended<S> {
    ServiceBuilder::new()
        .retry(UnlessOpen::new(RETRY_PAUSE))
        .layer(HealthLayer::new(provider))
        .timeout(TIMEOUT)
        .service(client)
}

/// The recommended stack over a client that connects anew for each call, and retries at once.
fn over_sockets(provider: &Provider, timeout: Duration) -> Recommended<HyperClient> {
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    ServiceBuilder::new()
        .retry(UnlessOpen::new(Duration::ZERO))
        .layer(HealthLayer::new(provider.clone()))
        .timeout(timeout)
        .service(client)
}

/// The layer and a timeout around a client that connects in `poll_ready`.
fn connecting_by<M>(connect: M, provider: &Provider) -> Health<Timeout<Reconnect<M, ()>>>
where
    M: Service<(), Response = Backend, Error: Into<BoxError>>,
{
    ServiceBuilder::new()
        .layer(HealthLayer::new(provider.clone()))
        .timeout(TIMEOUT)
        .service(Reconnect::new(connect, ()))
}

fn hanging() -> impl Service<(), Response = Backend, Error = io::Error, Future: Send + Unpin> {
    service_fn(|()| pending())
}

/// Retries each call up to three times, unless it was refused.
#[derive(Clone)]
struct UnlessOpen {
    retries_left: u32,
    pause: Duration,
}

impl UnlessOpen {
    fn new(pause: Duration) -> Self {
        Self {
            retries_left: 3,
            pause,
        }
    }
}

impl<Req: Clone, Res> Policy<Req, Res, BoxError> for UnlessOpen {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Req, result: &mut Result<Res, BoxError>) -> Option<Sleep> {
        let error = result.as_ref().err()?;
        if error::find::<CircuitOpen>(&**error).is_some() {
            return None;
        }
        self.retries_left = self.retries_left.checked_sub(1)?;
        Some(sleep(self.pause))
    }

    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

/// Clones the service for each call, as most callers do with a shared one.
fn cloned_for_each_call<S>(
    service: S,
) -> impl Service<&'static str, Response = S::Response, Error = S::Error>
where
    S: Service<&'static str> + Clone,
{
    service_fn(move |request| service.clone().oneshot(request))
}

/// Takes a stack through an outage of its client, and asserts that only the calls that trip and one trial reach it.
async fn assert_outage_is_contained<S>(build: impl FnOnce(Provider, Backend) -> S)
where
    S: Service<&'static str, Response = &'static str, Error = BoxError>,
{
    let (provider, backend) = (provider(), Backend::default());
    let mut stack = build(provider.clone(), backend.clone());
    assert_eq!(call(&mut stack).await.unwrap(), "well");
    assert_eq!(backend.calls(), 1);

    backend.is_down.store(true, Ordering::SeqCst);
    assert_refused(call(&mut stack).await);
    assert_eq!(backend.calls(), 1 + 2);
    for _ in 0..10 {
        let start = Instant::now();
        assert_refused(call(&mut stack).await);
        assert_eq!(start.elapsed(), Duration::ZERO, "not at once");
    }
    assert_eq!(backend.calls(), 1 + 2);

    backend.is_down.store(false, Ordering::SeqCst);
    advance(OPEN_WINDOW).await;
    assert_eq!(call(&mut stack).await.unwrap(), "well");
    assert_eq!(backend.calls(), 1 + 2 + 1);
    assert_eq!(provider.health().state, State::Closed);
}

async fn call<S>(stack: &mut S) -> Result<S::Response, S::Error>
where
    S: Service<&'static str>,
{
    stack.ready().await?.call("hi").await
}

#[track_caller]
fn assert_refused<T>(result: Result<T, BoxError>) {
    let error = result.err().expect("a refusal");
    assert!(error::find::<CircuitOpen>(&*error).is_some(), "{error}");
}

fn provider() -> Provider {
    HealthCache::default().provider("search")
}

/// A client whose provider can be down.
#[derive(Clone, Default)]
struct Backend {
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Backend {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Service<&'static str> for Backend {
    type Response = &'static str;
    type Error = io::Error;
    type Future = Ready<io::Result<&'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(if self.is_down.load(Ordering::SeqCst) {
            Err(io::Error::other("connection refused"))
        } else {
            Ok("well")
        })
    }
}

/// A server on a real socket, whose behaviour can be changed.
struct Server {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Manner {
    Answers,
    HangsUp,
    NeverAnswers,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            manner: Arc::new(Mutex::new(manner)),
            connections: Arc::default(),
        };
        let manner = Arc::clone(&server.manner);
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let manner = *manner.lock().unwrap();
                tokio::spawn(manner.serve(stream));
            }
        });
        server
    }

    async fn get(&self, stack: &mut Recommended<HyperClient>) -> Result<Bytes, BoxError> {
        let request = Request::get(format!("http://{}/", self.address)).body(Full::default())?;
        let response = stack.ready().await?.call(request).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Manner {
    async fn serve(self, stream: TcpStream) {
        match self {
            Self::Answers => {
                let answer = async |_| io::Result::Ok(Response::new(String::from("well")));
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer));
                connection.await.unwrap();
            }
            Self::HangsUp => {}
            Self::NeverAnswers => {
                let _kept_open = stream;
                pending::<()>().await;
            }
        }
    }
}
