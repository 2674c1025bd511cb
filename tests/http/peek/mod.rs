//! A response is held back until its body has begun. A failure before that is the call's error, and
//! the bytes held back are replayed unchanged.

mod as_a_service;
mod below_a_health_layer;
mod bounds;
mod first_content;
mod first_content_and_events;
mod first_frame;
mod first_sse_event;
mod over_a_socket;
mod replay;
mod what_is_not_held_back;
mod whole;

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    future::ready,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxService};
use tower_health::{
    BoxError, Provider,
    error::find,
    http::{Content, FirstSseEvent, PeekBody, PeekError, PeekLayer, SseEvent},
};

use crate::cache_without_jitter;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

type JudgeBytes = fn(&[u8]) -> Content;
type JudgeEvent = fn(&SseEvent<'_>) -> Content;

/// Waits for an event with data. An event named "error" is a failure.
fn tokens() -> PeekLayer<FirstSseEvent<JudgeEvent>> {
    fn judge(event: &SseEvent<'_>) -> Content {
        match event.event {
            "error" => Content::broken(event.data.to_owned()),
            _ if event.data.is_empty() => Content::NotYet,
            _ => Content::Begun,
        }
    }
    PeekLayer::first_sse_event(judge)
}

fn provider() -> Provider {
    cache_without_jitter().provider("groq")
}

/// A service whose responses have scripted bodies.
type Server = BoxService<Request<()>, Response<Script>, Reset>;

type Peeked = Result<Response<PeekBody<Script>>, BoxError>;

/// Makes a call through `layer` to a server that answers with this body as an event stream.
fn call<L>(layer: &L, body: Script) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    send(layer, Request::default(), event_stream(body))
}

fn event_stream(body: Script) -> Response<Script> {
    let mut response = Response::new(body);
    let media_type = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", media_type);
    response
}

/// The same with `Content-Encoding: gzip`. The data of `body` is not compressed.
fn compressed(body: Script) -> Response<Script> {
    let mut response = event_stream(body);
    let coding = HeaderValue::from_static("gzip");
    response.headers_mut().insert("content-encoding", coding);
    response
}

fn send<L>(
    layer: &L,
    request: Request<()>,
    response: Response<Script>,
) -> impl Future<Output = Peeked> + use<L>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    let mut response = Some(response);
    let server = service_fn(move |_| ready(Ok(response.take().expect("one call"))));
    layer.layer(BoxService::new(server)).oneshot(request)
}

/// The results for `stream` in two frames, split at each position, and in frames of each length.
async fn calls_split_everywhere<L>(layer: &L, stream: &'static [u8]) -> Vec<(String, Peeked)>
where
    L: Layer<Server>,
    L::Service: Service<Request<()>, Response = Response<PeekBody<Script>>, Error = BoxError>,
{
    let mut calls = Vec::new();
    for at in 0..=stream.len() {
        let (left, right) = stream.split_at(at);
        let halves = [left, right].map(|half| Step::Data(Bytes::from_static(half)));
        let response = call(layer, Script::new(halves)).await;
        calls.push((format!("split at {at}"), response));
    }
    for length in 1..=stream.len() {
        let pieces = stream
            .chunks(length)
            .map(Bytes::from_static)
            .map(Step::Data);
        let response = call(layer, Script::new(pieces)).await;
        calls.push((format!("in pieces of {length}"), response));
    }
    calls
}

fn peeked(error: &BoxError) -> &PeekError {
    find(&**error).unwrap_or_else(|| panic!("no `PeekError`: {error:?}"))
}

async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}

async fn text<B: Body<Error: fmt::Debug>>(response: Response<B>) -> String {
    let body = response.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().into()).unwrap()
}

/// All frames of a body.
async fn frames(mut body: PeekBody<Script>) -> Vec<Step> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap().into());
    }
    frames
}

/// A step of a scripted body.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Wait(Duration),
    Data(Bytes),
    Trailers(HeaderMap),
    Reset,
}

fn wait(time: Duration) -> Step {
    Step::Wait(time)
}

fn data(text: &str) -> Step {
    Step::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn trailers(name: &'static str, value: &'static str) -> Step {
    let pair = (name.try_into().unwrap(), HeaderValue::from_static(value));
    Step::Trailers(HeaderMap::from_iter([pair]))
}

fn reset() -> Step {
    Step::Reset
}

impl From<Frame<Bytes>> for Step {
    fn from(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Self::Data(data),
            Err(frame) => Self::Trailers(frame.into_trailers().unwrap()),
        }
    }
}

/// A body that follows a script. It must not be polled after its end.
struct Script {
    steps: VecDeque<Step>,
    hint: Hint,
    left: Arc<AtomicUsize>,
    waiting: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

#[derive(Clone, Copy)]
enum Hint {
    Unknown,
    /// The length of the remaining data.
    Remaining,
    Exactly(u64),
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps: VecDeque<_> = steps.into_iter().collect();
        Self {
            left: Arc::new(AtomicUsize::new(steps.len())),
            steps,
            hint: Hint::Unknown,
            waiting: None,
            is_over: false,
        }
    }

    /// The same body with a known size and end.
    fn sized(self) -> Self {
        Self {
            hint: Hint::Remaining,
            ..self
        }
    }

    /// The number of remaining steps.
    fn left(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.left)
    }

    fn next_step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front();
        self.left.store(self.steps.len(), Ordering::Relaxed);
        step
    }
}

impl Clone for Script {
    fn clone(&self) -> Self {
        Self {
            hint: self.hint,
            ..Self::new(self.steps.clone())
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let frame = match self.next_step() {
                Some(Step::Wait(time)) => {
                    self.waiting = Some(Box::pin(sleep(time)));
                    continue;
                }
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Reset) => Some(Err(Reset)),
                None => {
                    let was_over = mem::replace(&mut self.is_over, true);
                    assert!(!was_over, "polled after its end");
                    None
                }
            };
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.hint, Hint::Remaining) && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint {
            Hint::Unknown => SizeHint::default(),
            Hint::Exactly(size) => SizeHint::with_exact(size),
            Hint::Remaining => {
                let sizes = self.steps.iter().map(|step| match step {
                    Step::Data(data) => data.len() as u64,
                    _ => 0,
                });
                SizeHint::with_exact(sizes.sum())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset")
    }
}

impl Error for Reset {}

/// The inputs of a closure.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }
}
