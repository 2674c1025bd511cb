//! Judges for the APIs of language models: OpenAI's, Anthropic's, and those modelled on them. Feature `llm`.
//!
//! For gateways, there are also a [classifier of accounts](AccountClassifier), a [body](EventBody) that ends a broken stream with
//! an error, and [errors](unavailable_response) in the shape that clients know.
//!
//! Such an API reports errors in more places than its status: in the body of an error, as the first event of a stream that
//! began with 200, or in the middle of a stream. Each function here judges one of these places.
//!
//! | the provider says | [first event](first_token) | [later event](to_last_event) | [body of an error](error_body) |
//! |---|---|---|---|
//! | `rate_limit_error`, `rate_limit_exceeded` | throttled | throttled | as the status says |
//! | `insufficient_quota`, `invalid_api_key` or a like code of the account | error | failure | fatal: the breaker opens at once |
//! | `context_length_exceeded`, `model_not_found` | error | failure | answered, and a chain goes on |
//! | any other error | error | failure | as the status says |
//! | a token | the response begins | | |
//! | `[DONE]`, `message_stop` | the response begins | success | |
//! | the end, without one of these | | failure, `incomplete` | |
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, service_fn};
//! use tower_health::{
//!     FallbackChain, HealthCache,
//!     http::{Content, PeekLayer, ReadErrorsLayer, StatusClassifier, llm},
//! };
//!
//! # type Body = http_body_util::Full<bytes::Bytes>;
//! # async fn send(_: http::Request<Body>) -> std::io::Result<http::Response<Body>> { Ok(Default::default()) }
//! let stack = ServiceBuilder::new()
//!     .layer(PeekLayer::first_sse_event(llm::first_token).within(Duration::from_secs(10)))
//!     .layer(ReadErrorsLayer::new(llm::error_body))
//!     .service(service_fn(send));
//! let chain = FallbackChain::new()
//!     .advance(StatusClassifier::new().judge_sse(llm::to_last_event))
//!     .guard(HealthCache::default().provider("groq"), stack);
//! # use tower::ServiceExt;
//! # let _ = chain.oneshot(Default::default());
//!
//! // With an error that one provider has.
//! let customized = PeekLayer::first_sse_event(|event| match llm::ApiError::in_event(event) {
//!     Some(error) if error.code() == Some("model_loading") => {
//!         Content::throttled(Some(Duration::from_secs(20)), error.reason())
//!     }
//!     _ => llm::first_token(event),
//! });
//! # let _ = customized;
//! ```

mod account;
mod api_error;
mod codes;
mod event_body;
mod judges;
mod unavailable;

pub use self::{
    account::AccountClassifier,
    api_error::ApiError,
    event_body::EventBody,
    judges::{error_body, first_token, to_last_event},
    unavailable::{error_response, rejected_response, unavailable_response},
};
