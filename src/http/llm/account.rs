use ::http::{Extensions, Response, StatusCode};

use crate::{
    breaker::Permit,
    http::read_errors::ErrorVerdict,
    layer::Classify,
    outcome::{Kind, Outcome, Reason},
    util::errors::BoxError,
};

/// Classifier of the layer of an account, around the layers of its models.
///
/// Only what concerns all models counts:
///
/// | result | account |
/// |---|---|
/// | 401, 402, 403, or an [error body](super::error_body) that is fatal, such as `insufficient_quota` | fatal: its breaker opens at once |
/// | the host cannot be reached: an error of the kinds `dns`, `connect` and `tls` | failure |
/// | any other response | success |
/// | any other error | neutral |
///
/// So a throttle or an outage of one model does not affect the account's other models; a refused key affects all of them.
///
/// ```
/// use tower::{ServiceBuilder, service_fn};
/// use tower_health::{
///     FallbackChain, HealthCache, HealthLayer,
///     http::{StatusClassifier, llm::AccountClassifier},
/// };
///
/// # type Body = http_body_util::Full<bytes::Bytes>;
/// # async fn send(_: http::Request<Body>) -> std::io::Result<http::Response<Body>> { Ok(Default::default()) }
/// let cache = HealthCache::default();
/// let (account, model) = (cache.provider("openai"), cache.provider("openai/gpt-4o"));
/// let stack = ServiceBuilder::new()
///     .layer(HealthLayer::new(account.clone()).classify(AccountClassifier))
///     .layer(HealthLayer::http(model.clone()))
///     .service(service_fn(send));
/// let chain = FallbackChain::new()
///     .advance(StatusClassifier::new().advance_on([401, 402, 403]))
///     .entry([account, model], stack);
/// # use tower::ServiceExt;
/// # let _ = chain.oneshot(Default::default());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountClassifier;

fn of_response(status: StatusCode, extensions: &Extensions) -> Outcome {
    let by_body = ErrorVerdict::of(status, extensions).and_then(ErrorVerdict::get_outcome);
    match (by_body, status.as_u16()) {
        (Some(fatal @ Outcome::Fatal { .. }), _) => fatal.clone(),
        (_, 401..=403) => Outcome::fatal(Reason::labelled(status.as_str(), "")),
        _ => Outcome::Success,
    }
}

fn of_error(error: &BoxError) -> Outcome {
    match Kind::of(&**error) {
        Some(Kind::Dns | Kind::Connect | Kind::Tls) => Outcome::failure(Reason::error(&**error)),
        _ => Outcome::Neutral,
    }
}

/// The classifier of one type of response. Errors have a kind once they are boxed.
macro_rules! classify {
    ($response:ty $(, $body:ident)?) => {
        impl<E: Into<BoxError> $(, $body)?> Classify<$response, E> for AccountClassifier {
            type Response = $response;

            fn classify(&self, result: Result<$response, E>, permit: Permit) -> Result<$response, E> {
                match &result {
                    Ok(response) => permit.record(of_response(response.status(), response.extensions())),
                    Err(_) => permit.neutral(),
                }
                result
            }

            fn classify_boxed(
                &self,
                result: Result<$response, E>,
                permit: Permit,
            ) -> Result<$response, BoxError> {
                let result = result.map_err(Into::into);
                match &result {
                    Ok(response) => permit.record(of_response(response.status(), response.extensions())),
                    Err(error) => permit.record(of_error(error)),
                }
                result
            }
        }
    };
}

classify!(Response<B>, B);
#[cfg(feature = "reqwest")]
classify!(::reqwest::Response);
