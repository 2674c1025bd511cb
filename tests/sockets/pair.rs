//! A chain of two providers: how it is built and called, and what can be observed afterwards.

use std::{fmt::Display, mem, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::TokioExecutor,
};
use tokio::{
    net::TcpSocket,
    task::unconstrained,
    time::{Instant, sleep},
};
use tokio_test::task::spawn;
use tower::{Service, ServiceBuilder, timeout::TimeoutLayer, util::BoxCloneSyncService};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, HealthLayer, Policy, Provider, Reason, ServedBy,
    State, Transition, Transitions,
    error::{self, Attempt, NoHealthyProvider},
    http::{Content, FirstSseEvent, PeekLayer, SseEvent, StatusClassifier},
};

use crate::server::Server;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The timeout of every stack. No test reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type HttpRequest = Request<Full<Bytes>>;
pub(crate) type HttpBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Stack = BoxCloneSyncService<HttpRequest, Response<HttpBody>, BoxError>;
pub(crate) type Chain = FallbackChain<Stack, HttpRequest, StatusClassifier>;

/// A service that sends requests: hyper's client, or layers around it.
pub(crate) trait HttpClient<B>:
    Service<HttpRequest, Response = Response<B>, Error: Into<BoxError> + Display, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<B, S> HttpClient<B> for S where
    S: Service<HttpRequest, Response = Response<B>, Error: Into<BoxError> + Display, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A chain of provider `a`, which may fail, and provider `b`, which is healthy.
pub(crate) struct Pair {
    pub(crate) cache: HealthCache,
    pub(crate) a: Provider,
    pub(crate) b: Server,
    pub(crate) chain: Chain,
    transitions: Transitions,
}

impl Pair {
    /// Uses the default policy.
    pub(crate) fn of(a: &Server) -> Self {
        Self::new(Policy::new(), client_of(a))
    }

    pub(crate) fn new<B>(policy: Policy, client_of_a: impl HttpClient<B>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let cache = HealthCache::new(policy);
        let b = Server::well("b");
        let chain = chain([
            entry(&cache, "a", client_of_a),
            entry(&cache, "b", client_of(&b)),
        ]);
        Self {
            a: cache.provider("a"),
            transitions: cache.subscribe(),
            cache,
            b,
            chain,
        }
    }

    pub(crate) async fn get(&self) -> Answer {
        get(&self.chain).await.unwrap()
    }

    /// The body of a response, before it is read.
    pub(crate) async fn stream(&self) -> HttpBody {
        let mut chain = self.chain.clone();
        chain.call(Request::default()).await.unwrap().into_body()
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        let request = Request::post("/").body(Full::new(body.into())).unwrap();
        call(&self.chain, request).await.unwrap()
    }

    pub(crate) fn state_of_a(&self) -> State {
        self.a.health().state
    }

    /// Calls until `a` has failed too often.
    pub(crate) async fn trip_a(&self) {
        while self.state_of_a() == State::Closed {
            self.get().await;
        }
    }

    /// Waits until a call to `a` would be a trial.
    pub(crate) async fn a_is_half_open(&self) {
        while let Some(wait) = self.a.health().retry_in {
            sleep(wait).await;
        }
        assert_eq!(self.state_of_a(), State::HalfOpen);
    }

    /// All transitions since the last call.
    pub(crate) fn transitions(&mut self) -> History {
        let mut all = Vec::new();
        while let Poll::Ready(Some(next)) = spawn(unconstrained(self.transitions.recv())).poll() {
            all.push(next);
        }
        History(all)
    }
}

pub(crate) fn chain<const N: usize>(entries: [(Provider, Stack); N]) -> Chain {
    let empty = FallbackChain::http();
    let add = |chain: Chain, (provider, stack)| chain.entry(provider, stack);
    entries.into_iter().fold(empty, add)
}

/// A provider, and a `HealthLayer` around a timeout around its client.
pub(crate) fn entry<B>(
    cache: &HealthCache,
    id: &str,
    client: impl HttpClient<B>,
) -> (Provider, Stack)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let provider = cache.provider(id);
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(BodyExt::boxed_unsync))
        .layer(HealthLayer::http(provider.clone()))
        .layer(TimeoutLayer::new(PATIENCE))
        .service(client);
    (provider, BoxCloneSyncService::new(stack))
}

/// A builder of clients that ignore proxies in the environment.
pub(crate) fn reqwest_builder() -> reqwest::ClientBuilder {
    // A build that includes the gateway enables TLS without a crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

pub(crate) fn client_of(server: &Server) -> impl HttpClient<Incoming> + use<> {
    let origin = format!("http://{}", server.address());
    client(HttpConnector::new(), &origin)
}

/// A client of a port without a listener.
pub(crate) fn client_of_nobody() -> impl HttpClient<Incoming> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let origin = format!("http://{}", socket.local_addr().unwrap());
    // Reserves the port.
    mem::forget(socket);
    client(HttpConnector::new(), &origin)
}

/// A client that sends every request to `origin`, each over its own connection.
pub(crate) fn client<C>(connector: C, origin: &str) -> impl HttpClient<Incoming> + use<C>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let origin = origin.to_owned();
    ServiceBuilder::new()
        .map_request(move |mut request: HttpRequest| {
            let uri = format!("{origin}{}", request.uri());
            *request.uri_mut() = uri.parse().unwrap();
            request
        })
        .service(client)
}

/// Holds a response back until an event that is neither empty nor an error.
pub(crate) fn first_token() -> PeekLayer<FirstSseEvent<impl Fn(&SseEvent<'_>) -> Content + Clone>> {
    PeekLayer::first_sse_event(|event| match (event.event, event.data) {
        ("error", reason) => Content::broken(Reason::display(reason)),
        (_, "") => Content::NotYet,
        _ => Content::Begun,
    })
}

pub(crate) fn open_for(window: Duration) -> Policy {
    Policy::new().backoff(Backoff::constant(window))
}

pub(crate) async fn get(chain: &Chain) -> Result<Answer, BoxError> {
    call(chain, Request::default()).await
}

/// Makes a call and reads its answer to the end.
pub(crate) async fn call(chain: &Chain, request: HttpRequest) -> Result<Answer, BoxError> {
    Ok(read(chain.clone().call(request).await?).await)
}

/// An answer as its caller sees it.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) served_by: String,
    pub(crate) attempts: Vec<String>,
    pub(crate) text: String,
    /// Whether the body ended without an error.
    pub(crate) is_whole: bool,
}

impl Answer {
    /// The answer of a healthy `a`.
    pub(crate) fn from_a() -> Self {
        Self::new("a", &[])
    }

    /// The answer of `b` after these attempts.
    pub(crate) fn from_b(attempts: &[&str]) -> Self {
        Self::new("b", attempts)
    }

    fn new(served_by: &str, attempts: &[&str]) -> Self {
        Self {
            status: 200,
            served_by: served_by.to_owned(),
            attempts: attempts.iter().map(ToString::to_string).collect(),
            text: format!("from {served_by}"),
            is_whole: true,
        }
    }
}

async fn read(response: Response<HttpBody>) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut is_whole = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap()),
            Err(_) => is_whole = false,
        }
    }
    let ServedBy {
        provider, attempts, ..
    } = head.extensions.get().unwrap();
    Answer {
        status: head.status.as_u16(),
        served_by: provider.to_string(),
        attempts: shown(attempts),
        text: String::from_utf8(bytes).unwrap(),
        is_whole,
    }
}

/// Formats attempts as `a: 503`.
pub(crate) fn shown(attempts: &[Attempt]) -> Vec<String> {
    let shown = |attempt: &Attempt| format!("{}: {}", attempt.provider, root(&attempt.reason));
    attempts.iter().map(shown).collect()
}

/// The innermost error in a reason.
pub(crate) fn root(reason: &str) -> &str {
    let (_, root) = reason.rsplit_once(": ").unwrap_or(("", reason));
    let (root, _) = root.split_once(" (os error").unwrap_or((root, ""));
    root
}

#[track_caller]
pub(crate) fn exhausted(error: &BoxError) -> &NoHealthyProvider {
    error::find(&**error).expect("the end of the chain")
}

/// Asserts to the nanosecond that a wait read between `asked` and now ends at `end`.
#[track_caller]
pub(crate) fn assert_wait_ends(wait: Option<Duration>, asked: Instant, end: Instant) {
    let told = end - wait.unwrap();
    assert!((asked..=Instant::now()).contains(&told), "{wait:?}");
}

/// The transitions of one provider, in order.
pub(crate) struct History(Vec<Transition>);

impl History {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn count(&self, from: State, to: State) -> usize {
        let is_such = |it: &&Transition| it.from == from && it.to == to;
        self.0.iter().filter(is_such).count()
    }

    /// The lengths of the open windows that have ended.
    pub(crate) fn windows(&self) -> Vec<Duration> {
        let ends = self.0.windows(2).filter(|pair| pair[1].from == State::Open);
        ends.map(|pair| pair[1].at - pair[0].at).collect()
    }

    pub(crate) fn first(&self) -> &Transition {
        &self.0[0]
    }
}
