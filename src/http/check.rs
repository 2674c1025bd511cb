use std::{collections::BTreeSet, fmt, future::poll_fn, sync::Arc};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use tower_service::Service;

use super::{classify::reason, statuses};
use crate::{Check, Reason};

/// A check that sends a request and looks at the status of the response.
///
/// Every status below 500 passes, unless [others are expected](Self::expect): a provider that says
/// "unauthorized" can be reached. The body is dropped unread.
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
}

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

    /// Sends one request, as soon as a clone of the service is ready. The future borrows nothing.
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
        let mut service = self.service.clone();
        let mut request = (self.request)();
        request.headers_mut().extend(self.headers.clone());
        let expected = self.expected.clone();
        async move {
            let call = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            let response = call.await.map_err(|error| Reason::of(&error))?;
            judge(response.status(), expected.as_deref())
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
    R: 'static,
{
    fn from(check: HttpCheck<S, B>) -> Self {
        Self::new(move || check.run())
    }
}

fn judge(status: StatusCode, expected: Option<&BTreeSet<StatusCode>>) -> Result<(), Reason> {
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
