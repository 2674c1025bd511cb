use std::{
    collections::BTreeSet,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Poll, ready},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use bytes::Buf;
use http_body::Body;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::{
    classify::{StatusClassifier, reason},
    status_codes::statuses,
};
use crate::{
    breaker::Depth,
    outcome::{Outcome, Reason},
    probe::Check,
};

/// A check that sends an HTTP request and classifies the response.
///
/// The result depends on the depth of the check. For [reachability](Check::new), even a 401 shows that the provider can
/// be reached. A [functional](Check::functional) check is classified like a trial call, by a
/// [`StatusClassifier`](Self::classify):
///
/// | response | reachability (default) | functional |
/// |---|---|---|
/// | an [expected](Self::expect) status | passes | passes at the end of the body |
/// | any other status, if some are expected | fails | fails |
/// | success: below 400 | passes | passes at the end of the body |
/// | answered: most 4xx | passes | ignored |
/// | answered: 501, 505 to 508, 510 | fails | ignored |
/// | throttled: 429 | passes | opens the breaker until the provider's retry time |
/// | failure: 408 | passes | fails |
/// | failure: most 5xx | fails | fails |
/// | an error | fails | fails; a [local](crate::error::Kind::is_local) error is ignored |
///
/// A probe reads the response body, so that its connection can be reused: up to 256 KiB, and until the check's timeout.
/// For reachability, the body does not change the result.
///
/// Pass the bare client, without a [`HealthLayer`](crate::HealthLayer): an open breaker would refuse the check.
///
/// ```
/// use http::{HeaderValue, Request, Response, Uri, header::AUTHORIZATION};
/// use tower_health::{Check, HealthCache, HealthProbe, http::HttpCheck};
///
/// # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::default()) }
/// let client = tower::service_fn(send);
///
/// let is_reachable = HttpCheck::get(client, Uri::from_static("https://api.example.com/v1/models"));
///
/// let answers = HttpCheck::new(client, || {
///     Request::post("https://api.example.com/v1/chat/completions")
///         .body(r#"{"model": "small", "max_tokens": 1}"#.to_owned())
///         .expect("a constant request")
/// })
/// .header(AUTHORIZATION, HeaderValue::from_static("Bearer secret"))
/// .expect([200]);
///
/// # tokio_test::block_on(async {
/// assert_eq!(is_reachable.run().await, Ok(()));
/// assert_eq!(answers.run().await, Ok(()));
/// # });
///
/// let probe = HealthProbe::new(&HealthCache::default())
///     .check_with("search", is_reachable)
///     .check_with("groq", Check::from(answers).functional());
/// # let _ = probe;
/// ```
#[must_use]
pub struct HttpCheck<S, B> {
    service: S,
    request: Box<dyn Fn() -> Request<B> + Send + Sync>,
    headers: HeaderMap,
    /// Shared: the future of a run borrows nothing.
    expected: Option<Arc<BTreeSet<StatusCode>>>,
    classifier: StatusClassifier,
}

/// Maximum number of bytes read of a body.
const LONGEST_BODY: u64 = 256 * 1024;

impl<S, B> HttpCheck<S, B> {
    /// A check that sends the request returned by `request`, which is called for each run.
    pub fn new<F>(service: S, request: F) -> Self
    where
        F: Fn() -> Request<B> + Send + Sync + 'static,
    {
        Self {
            service,
            request: Box::new(request),
            headers: HeaderMap::new(),
            expected: None,
            classifier: StatusClassifier::new(),
        }
    }

    /// A check that sends a `GET` with an empty body.
    pub fn get(service: S, uri: Uri) -> Self
    where
        B: Default + 'static,
    {
        Self::new(service, move || {
            let mut request = Request::new(B::default());
            *request.uri_mut() = uri.clone();
            request
        })
    }

    /// Sets a header on each request, replacing its previous value. `Debug` does not print the value.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Statuses that pass; all others fail. Default: all below 500.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn expect(self, codes: impl IntoIterator<Item = u16>) -> Self {
        let expected = statuses("HttpCheck::expect", codes).into_iter().collect();
        Self {
            expected: Some(Arc::new(expected)),
            ..self
        }
    }

    /// Classifies responses of a [functional](Check::functional) check, unless [`expect`](Self::expect) is set. Default:
    /// [`StatusClassifier::new`].
    ///
    /// Use the classifier of the provider's [layer](crate::HealthLayer).
    pub fn classify(self, classifier: StatusClassifier) -> Self {
        Self { classifier, ..self }
    }

    /// Sends one request once a clone of the service is ready, and checks the status as for reachability. Drops the
    /// body unread. The future borrows nothing.
    ///
    /// # Errors
    ///
    /// The service's error, labelled with its [kind](crate::error::Kind), or a status that does not pass, such as
    /// `503`.
    pub fn run<R>(&self) -> impl Future<Output = Result<(), Reason>> + Send + use<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send,
        S::Future: Send,
        S::Error: fmt::Display + 'static,
        B: Send,
    {
        let response = self.send(|error| Reason::of(&error));
        let expected = self.expected.clone();
        async move { reach(response.await?.status(), expected.as_deref()) }
    }

    /// Runs the check including the body, which is read until `deadline`.
    fn judge<R>(
        &self,
        depth: Depth,
        deadline: Instant,
    ) -> impl Future<Output = Outcome> + Send + use<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send,
        S::Future: Send,
        S::Error: fmt::Display + 'static,
        B: Send,
        R: Body + Send,
        R::Error: fmt::Display + 'static,
    {
        let response = self.send(match depth {
            Depth::Reachability => |error| Outcome::failure(Reason::of(&error)),
            Depth::Functional => |error| Outcome::of_error(&error),
        });
        let expected = self.expected.clone();
        let classifier = self.classifier.clone();
        async move {
            let (head, body) = match response.await {
                Ok(response) => response.into_parts(),
                Err(outcome) => return outcome,
            };
            let is_functional = depth == Depth::Functional;
            let at_headers = if is_functional && expected.is_none() {
                classifier.outcome(head.status, &head.headers)
            } else {
                let reached = reach(head.status, expected.as_deref());
                reached.map_or_else(Outcome::failure, |()| Outcome::Success)
            };
            let rest = read(body);
            if is_functional && at_headers == Outcome::Success {
                let read = rest.await;
                return read.map_or_else(Outcome::failure, |()| Outcome::Success);
            }
            let _ = timeout_at(deadline, rest).await;
            at_headers
        }
    }

    fn send<R, T>(
        &self,
        of_error: fn(S::Error) -> T,
    ) -> impl Future<Output = Result<Response<R>, T>> + Send + use<S, B, R, T>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send,
        S::Future: Send,
        B: Send,
    {
        let mut service = self.service.clone();
        let mut request = (self.request)();
        request.headers_mut().extend(self.headers.clone());
        async move {
            let call = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            call.await.map_err(of_error)
        }
    }
}

/// Converts into a check for [reachability](Check::new). For a functional one: `Check::from(check).functional()`.
impl<S, B, R> From<HttpCheck<S, B>> for Check
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: fmt::Display + 'static,
    B: Send + 'static,
    R: Body + Send + 'static,
    R::Error: fmt::Display + 'static,
{
    fn from(check: HttpCheck<S, B>) -> Self {
        Self::judged_by(move |depth, deadline| check.judge(depth, deadline))
    }
}

/// Reads a body to its end or to the maximum length.
async fn read<B>(body: B) -> Result<(), Reason>
where
    B: Body,
    B::Error: fmt::Display + 'static,
{
    let announced = body.size_hint().lower();
    if announced > LONGEST_BODY {
        return Ok(());
    }
    let mut body = pin!(body);
    let (mut bytes, mut frames) = (0, 0);
    poll_fn(|cx| {
        // Frames without data count too: an endless series of them must end.
        while bytes + frames <= LONGEST_BODY {
            let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                let is_whole = bytes >= announced;
                return Poll::Ready(is_whole.then_some(()).ok_or("incomplete".into()));
            };
            let frame = frame.map_err(|error| Reason::of(&error))?;
            bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
            frames += 1;
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn reach(status: StatusCode, expected: Option<&BTreeSet<StatusCode>>) -> Result<(), Reason> {
    let passes = expected.map_or(status.as_u16() < 500, |expected| expected.contains(&status));
    if passes { Ok(()) } else { Err(reason(status)) }
}

impl<S, B> fmt::Debug for HttpCheck<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("HttpCheck")
            .field("headers", &headers)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
