//! A provider, and the stack of layers through which it is called.

use std::{str::from_utf8, sync::Arc};

use axum::http::{
    self, HeaderMap, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use reqwest::{Body, Client, Response, Url};
use tokio::time::timeout;
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_health::{
    BoxError, Check, HealthLayer, HealthProbe, Policy, Provider,
    http::{
        HttpCheck, PeekError, PeekLayer, ReadErrorsLayer, StatusClassifier,
        llm::{self, AccountClassifier, ApiError},
    },
};

use crate::{
    call::Call,
    config::{self, Limits},
};

/// Maximum size of an answer that is held back until it is complete, so that another provider can serve if it breaks off.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

pub(crate) type Stack = BoxCloneSyncService<Call, Response, BoxError>;

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) provider: config::Provider,
    pub(crate) limits: Limits,
    pub(crate) classifier: StatusClassifier,
    pub(crate) policy: Policy,
}

impl Upstream {
    /// The stack of a model: the layer of its account and everything below.
    pub(crate) fn stack(
        self: Arc<Self>,
        account: &Provider,
        model: &Provider,
        name: &str,
        client: &Client,
    ) -> Stack {
        let (client, name) = (client.clone(), name.to_owned());
        let Limits {
            first_token,
            answer,
            ..
        } = self.limits;
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::new(account.clone()).classify(AccountClassifier))
            .layer(HealthLayer::new(model.clone()).classify(self.classifier.clone()))
            .and_then(judge_whole)
            .layer(PeekLayer::whole().within(answer.0).up_to(LONGEST_ANSWER))
            .layer(PeekLayer::first_sse_event(llm::first_token).within(first_token.0))
            .layer(ReadErrorsLayer::new(llm::error_body))
            .service_fn(move |call| Arc::clone(&self).send(name.clone(), client.clone(), call));
        Stack::new(stack)
    }

    async fn send(
        self: Arc<Self>,
        model: String,
        client: Client,
        call: Call,
    ) -> Result<Response, BoxError> {
        let prompt = call.body();
        // Sends no other header of the client. `Accept-Encoding` would hide events from the judges.
        let request = client
            .post(self.url(call.uri().path()))
            .headers(self.credentials())
            .header(CONTENT_TYPE, "application/json")
            .body(prompt.body_for(&model)?);
        // An answer that is not streamed sends its head when it is complete.
        let Limits { head, answer, .. } = self.limits;
        let limit = if prompt.is_stream() { head } else { answer };
        Ok(timeout(limit.0, request.send()).await??)
    }

    /// Adds the account's check, if it has one.
    pub(crate) fn checked_by(&self, probe: HealthProbe, client: &Client) -> HealthProbe {
        let Some(config::Check { path, interval }) = &self.provider.check else {
            return probe;
        };
        let uri = Uri::try_from(self.url(path).as_str()).expect("a URL of HTTP is a URI");
        let client = ServiceBuilder::new()
            .map_request(|it: http::Request<Body>| {
                reqwest::Request::try_from(it).expect("a URI with a host")
            })
            .map_response(http::Response::<Body>::from)
            .service(client.clone());
        let mut check = HttpCheck::get(client, uri);
        for (name, value) in &self.credentials() {
            check = check.header(name.clone(), value.clone());
        }
        probe.check_with(&*self.name, Check::from(check).interval(interval.0))
    }

    fn credentials(&self) -> HeaderMap {
        let key = self.provider.key_env.iter();
        key.map(|it| (AUTHORIZATION, it.0.clone())).collect()
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.provider.base_url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }
}

/// Fails if an answer that is not streamed is an error in spite of its status.
async fn judge_whole(answer: Response) -> Result<Response, BoxError> {
    let media_type = answer.headers().get(CONTENT_TYPE);
    let is_json = media_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    if !is_json || !answer.status().is_success() {
        return Ok(answer);
    }
    let (head, body) = http::Response::<Body>::from(answer).into_parts();
    // A longer answer is passed on as it comes. The size of one that is held back is known.
    let size = body.size_hint().exact();
    if size.is_none_or(|bytes| bytes > LONGEST_ANSWER as u64) {
        return Ok(http::Response::from_parts(head, body).into());
    }
    let body = body.collect().await?.to_bytes();
    match from_utf8(&body).ok().and_then(ApiError::in_body) {
        Some(error) => Err(PeekError::Broken(error.reason()).into()),
        None => Ok(http::Response::from_parts(head, body).into()),
    }
}

/// The classifier of models and the rule of chains. Refused credentials count only against the account.
pub(crate) fn classifier() -> StatusClassifier {
    StatusClassifier::new()
        // Redirects are not followed: a base URL that has moved does not serve.
        .failure_on([301, 302, 303, 307, 308])
        .advance_on([401, 402, 403, 404])
        .judge_sse(llm::to_last_event)
}
