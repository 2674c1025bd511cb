use std::time::Duration;

use async_openai::{Client, config::OpenAIConfig, middleware::HttpRequestFactory};
use reqwest::{
    Request, Url,
    header::{AUTHORIZATION, HeaderValue},
};
use tower::ServiceBuilder;
use tower_health::{
    FallbackChain, HealthCache,
    http::{PeekLayer, ReadErrorsLayer, ReplayError, StatusClassifier},
};

use crate::judge::{first_event, judge_error, judge_event};

/// A provider for the client.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id in the cache.
    pub name: &'static str,
    /// For example `https://api.openai.com/v1`.
    pub base_url: Url,
    /// For example `Bearer sk-…`.
    pub authorization: HeaderValue,
}

/// Limits on the time of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time until the head of a response.
    pub head: Duration,
    /// Time from there to the first event of a stream, or to the end of an answer that is not streamed.
    pub answer: Duration,
    /// Time between two pieces of a stream.
    pub silence: Duration,
}

/// Returns a client for HTTP and HTTPS that ignores proxies in the environment.
///
/// # Errors
///
/// If the system's certificates cannot be read.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    // Fails if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build()
}

/// Returns a client whose requests go to the first of `endpoints` that is healthy and answers.
///
/// The client does not retry, as it would with its default service, because the chain tries the next provider.
#[must_use]
pub fn client(
    cache: &HealthCache,
    http: &reqwest::Client,
    endpoints: impl IntoIterator<Item = Endpoint>,
    limits: Limits,
) -> Client<OpenAIConfig> {
    let judge = StatusClassifier::new()
        .credentials_as_failures()
        .idle_timeout(limits.silence)
        .judge_sse(judge_event);
    let mut chain = FallbackChain::new().advance(judge);
    for endpoint in endpoints {
        let provider = cache.provider(endpoint.name);
        let stack = ServiceBuilder::new()
            .filter_async(build)
            .layer(ReadErrorsLayer::new(judge_error))
            .layer(PeekLayer::whole().within(limits.answer).up_to(1024 * 1024))
            .layer(PeekLayer::first_sse_event(first_event).within(limits.answer))
            .timeout(limits.head)
            .map_request(move |request| endpoint.address(request))
            .service(http.clone());
        chain = chain.guard(provider, stack);
    }
    // Each endpoint replaces both.
    let config = OpenAIConfig::new()
        .with_api_base("http://provider.invalid")
        .with_api_key("none");
    Client::with_config(config).with_http_service(chain)
}

/// The client sends factories, which are `Clone` and build a request for each attempt. So even a request whose body is a stream can
/// go to the next provider. A request that cannot be built is no provider's fault.
async fn build(factory: HttpRequestFactory) -> Result<Request, ReplayError> {
    let request = factory.build().await;
    request.map_err(|error| ReplayError::Unreadable(error.into()))
}

impl Endpoint {
    /// Redirects a request to this provider.
    fn address(&self, mut request: Request) -> Request {
        let base = self.base_url.path().trim_end_matches('/');
        let mut url = self.base_url.clone();
        url.set_path(&format!("{base}{}", request.url().path()));
        url.set_query(request.url().query());
        *request.url_mut() = url;
        let authorization = self.authorization.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization);
        request
    }
}
