//! Request bodies that are read before they are sent, so that a request can be repeated: scenario 48.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_health::{
    BoxError, FallbackChain, HealthCache, HealthLayer, ServedBy,
    error::find,
    http::{Replay, ReplayBody, ReplayError, ReplayLayer, StatusClassifier},
};
use tower_test::mock;

mod reading {
    use super::*;

    #[tokio::test]
    async fn frames_become_one_and_the_head_stays_as_it_is() {
        let mut request = Request::put("/model?size=small")
            .header("x-key", "secret")
            .body(frames(["how ", "are", "", " you?"]))
            .unwrap();
        request.extensions_mut().insert("extension");

        let sent = sent(request).await;
        assert_eq!(sent.body().data(), "how are you?");
        assert_eq!(sent.method(), "PUT");
        assert_eq!(sent.uri(), "/model?size=small");
        assert_eq!(sent.headers()["x-key"], "secret");
        assert_eq!(sent.extensions().get(), Some(&"extension"));
    }

    #[tokio::test]
    async fn body_of_one_frame_is_not_copied() {
        let data = Bytes::from(vec![b'x'; 100]);
        let sent = sent(Request::new(Full::new(data.clone()))).await;
        assert_eq!(sent.body().data().as_ptr(), data.as_ptr());
        assert_eq!(sent.clone().body().data().as_ptr(), data.as_ptr());
    }

    #[tokio::test]
    async fn empty_body_stays_empty() {
        let sent = sent(Request::new(frames([]))).await;
        assert!(sent.body().is_end_stream());
        assert_eq!(sent.body().size_hint().exact(), Some(0));
        assert_eq!(frames_of(sent.into_body()).await, [] as [&str; 0]);
    }

    #[tokio::test]
    async fn trailers_are_kept_in_every_copy() {
        let (sender, body) = body();
        sender.send(Ok(Frame::data("data".into()))).unwrap();
        sender.send(Ok(Frame::trailers(checksum()))).unwrap();
        drop(sender);

        let sent = sent(Request::new(body)).await;
        assert_eq!(sent.body().trailers(), Some(&checksum()));
        for body in [sent.clone().into_body(), sent.into_body()] {
            assert_eq!(frames_of(body).await, ["data", "checksum: 7"]);
        }
    }

    #[tokio::test]
    async fn trailers_are_kept_where_there_is_no_data() {
        let (sender, body) = body();
        sender.send(Ok(Frame::trailers(checksum()))).unwrap();
        drop(sender);

        let sent = sent(Request::new(body)).await;
        assert!(!sent.body().is_end_stream());
        assert_eq!(frames_of(sent.into_body()).await, ["checksum: 7"]);
    }

    #[test]
    fn size_is_exact_until_the_end() {
        let mut body = ReplayBody::from("data");
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());
        let frame = task::spawn(body.frame()).poll();
        assert_eq!(
            assert_ready!(frame).unwrap().unwrap().into_data().unwrap(),
            "data"
        );
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
    }

    #[test]
    #[should_panic(expected = "`ReplayLayer::up_to` must be at least 1, got 0")]
    fn limit_of_nothing_is_refused() {
        let _ = ReplayLayer::up_to(0);
    }
}

mod limit {
    use super::*;

    #[tokio::test]
    async fn body_of_just_the_limit_passes() {
        let hands_back = service_fn(|request| ready(Ok::<_, Infallible>(request)));
        for body in [frames(["1234567890"]), frames(["12345", "67890"])] {
            let service = replaying(hands_back);
            let sent = service.oneshot(Request::new(body)).await.unwrap();
            assert_eq!(sent.body().data(), "1234567890");
        }
    }

    #[test]
    fn body_that_turns_out_larger_is_an_error_and_nothing_is_sent() {
        for request in [frames(["12345678901"]), frames(["1234567890", "1"])] {
            let error = refused(Request::new(request));
            assert_eq!(error.to_string(), "request body exceeds 10 bytes");
            assert!(matches!(error, ReplayError::TooLarge { limit: 10, .. }));
        }
    }

    #[test]
    fn body_that_is_announced_larger_is_not_read() {
        let (sender, mut body) = body();
        body.announced = 11;
        let error = refused(Request::new(body));
        assert!(matches!(error, ReplayError::TooLarge { limit: 10, .. }));
        assert!(sender.is_closed());
    }

    #[test]
    fn body_is_not_waited_for_once_too_much_is_announced() {
        let (sender, mut body) = body();
        body.announced = 10;
        sender.send(Ok(Frame::data("1".into()))).unwrap();
        let error = refused(Request::new(body));
        assert!(matches!(error, ReplayError::TooLarge { limit: 10, .. }));
    }
}

mod errors {
    use super::*;

    #[test]
    fn body_that_breaks_off_is_an_error_and_nothing_is_sent() {
        let (sender, body) = body();
        sender.send(Ok(Frame::data("half".into()))).unwrap();
        sender
            .send(Err(io::ErrorKind::ConnectionReset.into()))
            .unwrap();

        let error: BoxError = refused(Request::new(body)).into();
        assert_eq!(error.to_string(), "failed to read the request body");
        let cause = find::<io::Error>(&*error).unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn errors_of_the_inner_service_come_through_unchanged() {
        let fails = service_fn(|_| ready(Err::<(), _>(io::Error::other("down"))));
        let error = replaying(fails).oneshot(Request::new(frames([]))).await;
        assert_eq!(
            error
                .unwrap_err()
                .downcast::<io::Error>()
                .unwrap()
                .to_string(),
            "down"
        );
    }

    #[tokio::test]
    async fn error_of_readiness_comes_through_unchanged() {
        let (service, mut handle) = mock::pair::<Request<ReplayBody>, ()>();
        handle.send_error("pool is gone");
        let error = replaying(service).oneshot(Request::new(frames([]))).await;
        assert_eq!(error.unwrap_err().to_string(), "pool is gone");
    }
}

mod waiting {
    use super::*;

    #[tokio::test]
    async fn inner_service_is_not_called_before_all_of_the_body_is_there() {
        let (service, mut handle) = mock::pair::<Request<ReplayBody>, ()>();
        let (sender, body) = body();
        let mut call = task::spawn(replaying(service).call(Request::new(body)));
        let mut next = task::spawn(async { handle.next_request().await.unwrap() });

        assert_pending!(call.poll());
        sender.send(Ok(Frame::data("half".into()))).unwrap();
        assert!(call.is_woken());
        assert_pending!(call.poll());
        assert_pending!(next.poll());

        sender.send(Ok(Frame::data("s".into()))).unwrap();
        drop(sender);
        assert_pending!(call.poll());
        let (request, response) = assert_ready!(next.poll());
        assert_eq!(request.body().data(), "halfs");
        response.send_response(());
        assert!(assert_ready!(call.poll()).is_ok());
    }

    #[tokio::test]
    async fn slow_body_holds_none_of_the_inner_services_capacity() {
        let service = ServiceBuilder::new()
            .layer(ReplayLayer::up_to(10))
            .concurrency_limit(1)
            .service_fn(|_| ready(Ok::<_, Infallible>("served")));
        let (_sender, body) = body();
        let mut slow = task::spawn(service.clone().oneshot(Request::new(body)));
        assert_pending!(slow.poll());

        let other = service.oneshot(Request::new(frames(["quick"]))).await;
        assert_eq!(other.unwrap(), "served");
    }

    #[tokio::test]
    async fn inner_services_readiness_is_waited_for() {
        let (service, mut handle) = mock::pair::<Request<ReplayBody>, ()>();
        handle.allow(0);
        let mut service = replaying(service);
        assert!(
            task::spawn(ServiceExt::<Request<Frames>>::ready(&mut service))
                .poll()
                .is_ready()
        );
        let mut call = task::spawn(service.call(Request::new(frames(["body"]))));
        assert_pending!(call.poll());

        handle.allow(1);
        assert!(call.is_woken());
        assert_pending!(call.poll());
        let (request, _response) = handle.next_request().await.unwrap();
        assert_eq!(request.body().data(), "body");
    }

    #[tokio::test]
    async fn caller_who_walks_away_from_half_a_body_has_sent_nothing() {
        let (service, mut handle) = mock::pair::<Request<ReplayBody>, ()>();
        let (sender, body) = body();
        let mut call = task::spawn(replaying(service).call(Request::new(body)));
        sender.send(Ok(Frame::data("half".into()))).unwrap();
        assert_pending!(call.poll());
        drop(call);

        assert!(sender.is_closed());
        assert!(handle.next_request().await.is_none());
    }

    #[tokio::test]
    async fn caller_who_walks_away_from_the_call_cancels_it() {
        let running = Arc::new(());
        let held = Arc::clone(&running);
        let never = service_fn(move |_| {
            let held = Arc::clone(&held);
            async move {
                let answer = pending::<Result<(), Infallible>>().await;
                drop(held);
                answer
            }
        });
        let mut call = task::spawn(replaying(never).oneshot(Request::new(frames(["body"]))));
        assert_pending!(call.poll());
        let count = Arc::strong_count(&running);
        drop(call);
        assert!(Arc::strong_count(&running) < count);
    }
}

/// Scenario 48.
mod again {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_provider_of_a_chain_gets_the_whole_request() {
        let (chain, seen) = chain_of(["503", "reset", "200"]);
        let (sender, body) = body();
        for part in ["once ", "only"] {
            sender.send(Ok(Frame::data(part.into()))).unwrap();
        }
        sender.send(Ok(Frame::trailers(checksum()))).unwrap();
        drop(sender);

        let service = ReplayLayer::up_to(100).layer(chain);
        let response = service.oneshot(Request::new(body)).await.unwrap();
        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "200");
        let whole = vec!["once only".to_owned(), "checksum: 7".to_owned()];
        assert_eq!(*seen.lock().unwrap(), [whole.clone(), whole.clone(), whole]);
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_is_too_large_reaches_no_provider_of_a_chain() {
        let (chain, seen) = chain_of(["503", "200"]);
        let service = ReplayLayer::up_to(3).layer(chain);
        let error = service.oneshot(Request::new(frames(["four"]))).await;
        assert!(error.unwrap_err().is::<ReplayError>());
        assert!(seen.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn retry_sends_the_whole_request_each_time() {
        let (service, mut handle) = mock::pair::<Request<ReplayBody>, ()>();
        let mut service = ServiceBuilder::new()
            .layer(ReplayLayer::up_to(100))
            .retry(Twice { tries: 0 })
            .service(service);
        let mut call = task::spawn(service.call(Request::new(frames(["once ", "only"]))));
        for _ in 0..2 {
            assert_pending!(call.poll());
            let (request, response) = handle.next_request().await.unwrap();
            assert_eq!(frames_of(request.into_body()).await, ["once only"]);
            response.send_error("reset");
        }
        assert_eq!(assert_ready!(call.poll()).unwrap_err().to_string(), "reset");
    }

    #[derive(Clone)]
    struct Twice {
        tries: usize,
    }

    impl<Req: Clone, Res, E> tower::retry::Policy<Req, Res, E> for Twice {
        type Future = std::future::Ready<()>;

        fn retry(&mut self, _: &mut Req, _: &mut Result<Res, E>) -> Option<Self::Future> {
            self.tries += 1;
            (self.tries < 2).then(|| ready(()))
        }

        fn clone_request(&mut self, request: &Req) -> Option<Req> {
            Some(request.clone())
        }
    }

    type Chain = FallbackChain<
        BoxCloneSyncService<Request<ReplayBody>, Response<()>, BoxError>,
        Request<ReplayBody>,
        StatusClassifier,
    >;

    /// A chain of providers, each named after its response, and the bodies that they received.
    fn chain_of<const N: usize>(
        manners: [&'static str; N],
    ) -> (Chain, Arc<Mutex<Vec<Vec<String>>>>) {
        let cache = HealthCache::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let chain = manners
            .into_iter()
            .fold(FallbackChain::http(), |chain, manner| {
                let seen = Arc::clone(&seen);
                let serve = service_fn(move |request: Request<ReplayBody>| {
                    let seen = Arc::clone(&seen);
                    async move {
                        let frames = frames_of(request.into_body()).await;
                        seen.lock().unwrap().push(frames);
                        let status = manner.parse::<StatusCode>().map_err(|_| manner)?;
                        let mut response = Response::new(ReplayBody::default());
                        *response.status_mut() = status;
                        Ok::<_, BoxError>(response)
                    }
                });
                let layer = HealthLayer::http(cache.provider(manner));
                let stack = layer
                    .layer(serve)
                    .map_response(|response| response.map(drop));
                chain.entry(cache.provider(manner), BoxCloneSyncService::new(stack))
            });
        (chain, seen)
    }
}

/// Scenario 48.
mod over_sockets {
    use super::*;

    #[tokio::test]
    async fn request_that_the_first_server_breaks_off_reaches_the_second_whole() {
        let cache = HealthCache::default();
        let large = "x".repeat(1024 * 1024);
        let chain = [
            ("breaks", breaking_off().await),
            ("echoes", echoing().await),
        ]
        .into_iter()
        .fold(FallbackChain::http(), |chain, (id, uri)| {
            let stack = ServiceBuilder::new()
                .layer(HealthLayer::http(cache.provider(id)))
                .service(client(uri));
            chain.entry(cache.provider(id), stack)
        });
        let service = ReplayLayer::up_to(large.len()).layer(chain);

        let halves = large
            .as_bytes()
            .chunks(large.len() / 2)
            .map(Bytes::copy_from_slice);
        let (sender, body) = body();
        for half in halves {
            sender.send(Ok(Frame::data(half))).unwrap();
        }
        drop(sender);
        let request = Request::post("/").body(body.boxed_unsync()).unwrap();
        let response = service.oneshot(request).await.unwrap();

        let served_by = response.extensions().get::<ServedBy>().unwrap();
        assert_eq!(&*served_by.provider, "echoes");
        assert_eq!(served_by.attempts.len(), 1);
        assert_eq!(response.headers()["x-length"], "1048576");
        let echoed = response.into_body().collect().await.unwrap().to_bytes();
        assert!(echoed == large.as_bytes());
    }

    #[tokio::test]
    async fn trailers_reach_the_server() {
        let (sender, body) = body();
        sender.send(Ok(Frame::data("data".into()))).unwrap();
        sender.send(Ok(Frame::trailers(checksum()))).unwrap();
        drop(sender);
        let request = Request::post("/").header("trailer", "checksum");

        let service = ReplayLayer::up_to(10).layer(client(echoing().await));
        let response = service.oneshot(request.body(body).unwrap()).await.unwrap();
        assert!(!response.headers().contains_key("x-length"));
        assert_eq!(response.headers()["x-checksum"], "7");
        let echoed = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(echoed, "data");
    }

    fn client(
        uri: String,
    ) -> impl Service<
        Request<ReplayBody>,
        Response = Response<Incoming>,
        Error = hyper_util::client::legacy::Error,
        Future: Send,
    > + Clone {
        let client: Client<HttpConnector, ReplayBody> =
            Client::builder(TokioExecutor::new()).build_http();
        client.map_request(move |mut request: Request<ReplayBody>| {
            *request.uri_mut() = uri.parse().unwrap();
            request
        })
    }

    /// A server that reads part of a request and hangs up.
    async fn breaking_off() -> String {
        serve(|mut stream| async move {
            stream.read_exact(&mut [0; 10_000]).await.unwrap();
        })
        .await
    }

    /// A server that answers with the request's body, and with its length and checksum as headers.
    async fn echoing() -> String {
        serve(|stream| async move {
            let echo = service::service_fn(async |request: Request<Incoming>| {
                let length = request.headers().get(CONTENT_LENGTH).cloned();
                let body = request.into_body().collect().await?;
                let checksum = body.trailers().map(|trailers| trailers["checksum"].clone());
                let mut response = Response::new(Full::new(body.to_bytes()));
                let headers = response.headers_mut();
                headers.extend(length.map(|it| (HeaderName::from_static("x-length"), it)));
                headers.extend(checksum.map(|it| (HeaderName::from_static("x-checksum"), it)));
                Ok::<_, hyper::Error>(response)
            });
            let connection = http1::Builder::new();
            let connection = connection.serve_connection(TokioIo::new(stream), echo);
            connection.await.unwrap();
        })
        .await
    }

    async fn serve<F, Fut>(connection: F) -> String
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
        uri
    }
}

fn replaying<S>(inner: S) -> Replay<S> {
    ReplayLayer::up_to(10).layer(inner)
}

/// The request that the inner service receives.
async fn sent<B>(request: Request<B>) -> Request<ReplayBody>
where
    B: Body<Error: Into<BoxError>>,
{
    let hands_back = service_fn(|request| ready(Ok::<_, Infallible>(request)));
    let service = ReplayLayer::up_to(100).layer(hands_back);
    service.oneshot(request).await.unwrap()
}

/// The error of a request that neither reaches the inner service nor waits for more of the body.
fn refused(request: Request<Frames>) -> ReplayError {
    let unreachable = service_fn(|_| -> std::future::Ready<Result<(), Infallible>> {
        panic!("a request was sent")
    });
    let refused = task::spawn(replaying(unreachable).oneshot(request)).poll();
    *assert_ready!(refused).unwrap_err().downcast().unwrap()
}

/// The frames of a body, as texts.
async fn frames_of(mut body: ReplayBody) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(match frame.unwrap().into_data() {
            Ok(data) => String::from_utf8(data.into()).unwrap(),
            Err(trailers) => {
                let trailers = trailers.into_trailers().unwrap();
                format!("checksum: {}", trailers["checksum"].to_str().unwrap())
            }
        });
    }
    frames
}

fn checksum() -> HeaderMap {
    HeaderMap::from_iter([("checksum".parse().unwrap(), "7".parse().unwrap())])
}

/// A body that is not `Clone`, and whose frames are sent by the test.
struct Frames {
    receiver: mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>,
    /// The lower bound of the size hint.
    announced: u64,
}

fn body() -> (mpsc::UnboundedSender<io::Result<Frame<Bytes>>>, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let announced = 0;
    (
        sender,
        Frames {
            receiver,
            announced,
        },
    )
}

fn frames<const N: usize>(data: [&'static str; N]) -> Frames {
    let (sender, body) = body();
    for data in data {
        sender.send(Ok(Frame::data(data.into()))).unwrap();
    }
    body
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(cx)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.announced);
        hint
    }
}
