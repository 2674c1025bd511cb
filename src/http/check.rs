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

/// A check that sends a request and looks at the response.
///
/// What a response shows depends on what the check has to prove. For [reachability](Check::new), a provider that answers
/// "unauthorized" can be reached. A [functional](Check::functional) check is judged as a trial is, by a
/// [`StatusClassifier`](Self::classify):
///
/// | response | reachability (default) | functional |
/// |---|---|---|
/// | an [expected](Self::expect) status | passes | passes when its body has ended |
/// | another, where some are expected | fails | fails |
/// | success: below 400 | passes | passes when its body has ended |
/// | answered: most of 4xx | passes | neither passes nor fails |
/// | answered: 501, 505 to 508, 510 | fails | neither passes nor fails |
/// | throttled: 429 | passes | opens the breaker until the time that the provider named |
/// | failure: 408 | passes | fails |
/// | failure: most of 5xx | fails | fails |
/// | an error | fails | fails; one [of this side](crate::error::Kind::is_local) neither passes nor fails |
///
/// A probe also reads the body of a response, up to 256 KiB and the end of the check's timeout, so that its connection
/// can be used again. For reachability, that does not change the result.
///
/// Give it the client alone, without a [`HealthLayer`](crate::HealthLayer): a check that an open
/// breaker refuses finds nothing out.
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
    /// Behind a count: a run owns all that it needs.
    expected: Option<Arc<BTreeSet<StatusCode>>>,
    classifier: StatusClassifier,
}

/// How much of a body is read.
const LONGEST_BODY: u64 = 256 * 1024;

impl<S, B> HttpCheck<S, B> {
    /// Sends what `request` makes, anew each time.
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

    /// Sends a `GET` with an empty body.
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

    /// Sets a header of each request, in place of one that it has. `Debug` does not show its value.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The statuses that pass; no other does then. Default: all below 500.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn expect(self, codes: impl IntoIterator<Item = u16>) -> Self {
        let expected = statuses(codes).into_iter().collect();
        Self {
            expected: Some(Arc::new(expected)),
            ..self
        }
    }

    /// Judges responses of a [functional](Check::functional) check by `classifier`, unless some statuses are
    /// [expected](Self::expect). Default: [`StatusClassifier::new`].
    ///
    /// Give it the classifier of the provider's [layer](crate::HealthLayer).
    pub fn classify(self, classifier: StatusClassifier) -> Self {
        Self { classifier, ..self }
    }

    /// Sends one request, as soon as a clone of the service is ready, and judges the status of the response as a check for
    /// reachability does. The body is dropped unread. The future borrows nothing.
    ///
    /// # Errors
    ///
    /// The service's error, labelled with its [kind](crate::error::Kind), or the status where it does
    /// not pass, as in `503`.
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

    /// Judges a response as far as the end of its body, which it reads until `deadline`.
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

/// A check for [reachability](Check::new); `Check::from(check).functional()` for more.
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

/// Reads a body to its end, unless it is long.
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
        // Frames without data count too: there may be no end of them.
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
