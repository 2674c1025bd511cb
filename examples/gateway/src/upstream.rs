//! A provider, and the stack of layers through which it is called.

use std::sync::Arc;

use axum::http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::{Client, Response};
use tokio::time::timeout;
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_health::{
    BoxError, Check, HealthLayer, HealthProbe, Policy, Provider,
    http::{
        PeekLayer, ReadErrorsLayer, StatusClassifier,
        llm::{self, AccountClassifier},
    },
};

use crate::{
    call::Call,
    config::{self, Limits},
};

/// Answers that are not streamed are held back, so that another provider can serve if one breaks off.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

pub(crate) type Stack = BoxCloneSyncService<Call, Response, BoxError>;

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) bearer: Option<HeaderValue>,
    pub(crate) limits: Limits,
    pub(crate) classifier: StatusClassifier,
    pub(crate) policy: Policy,
    pub(crate) check: Option<config::Check>,
}

impl Upstream {
    /// The stack of a model, from the account in.
    pub(crate) fn stack(
        self: Arc<Self>,
        account: &Provider,
        model: &Provider,
        name: &str,
        client: &Client,
    ) -> Stack {
        let Limits {
            first_token,
            answer,
            ..
        } = self.limits;
        let (client, name) = (client.clone(), name.to_owned());
        let stack = ServiceBuilder::new()
            .layer(HealthLayer::new(account.clone()).classify(AccountClassifier))
            .layer(HealthLayer::new(model.clone()).classify(self.classifier.clone()))
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
        // No other header of the client's: `Accept-Encoding` would hide events from those who judge them.
        let request = client
            .post(format!("{}{}", self.base_url, call.uri().path()))
            .headers(self.credentials())
            .header(CONTENT_TYPE, "application/json")
            .body(prompt.body_for(&model)?);
        // An answer that is not streamed has its head when it is complete.
        let limit = if prompt.is_stream() {
            self.limits.head
        } else {
            self.limits.answer
        };
        Ok(timeout(limit.0, request.send()).await??)
    }

    /// Adds the account's check, if it has one.
    pub(crate) fn checked_by(&self, probe: HealthProbe, client: &Client) -> HealthProbe {
        let Some(config::Check { path, interval }) = &self.check else {
            return probe;
        };
        let (client, headers) = (client.clone(), self.credentials());
        let url = format!("{}{path}", self.base_url);
        let check = Check::new(move || {
            let request = client.get(&url).headers(headers.clone());
            async move {
                let answer = request.send().await?;
                if answer.status().is_server_error() {
                    answer.error_for_status()?;
                }
                Ok::<_, reqwest::Error>(())
            }
        });
        probe.check_with(&*self.name, check.interval(interval.0))
    }

    fn credentials(&self) -> HeaderMap {
        let bearer = self.bearer.iter().cloned();
        bearer.map(|bearer| (AUTHORIZATION, bearer)).collect()
    }
}

/// The classifier of models and the rule of chains. It leaves refused keys to the account.
pub(crate) fn classifier() -> StatusClassifier {
    StatusClassifier::new()
        .advance_on([401, 402, 403, 404])
        .judge_sse(llm::to_last_event)
}
