//! HTTP support: classifiers for responses and their bodies, retry times, checks that send requests, request bodies
//! that can be sent again, and error responses for when no provider is available. Feature `http`, on by default.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_health::{HealthCache, HealthLayer, http::StatusClassifier};
//!
//! # type Request = http::Request<String>;
//! # type Response = http::Response<String>;
//! # async fn send(_: Request) -> Result<Response, std::io::Error> { Ok(Response::default()) }
//! let cache = HealthCache::default();
//!
//! // 503 is a failure, 429 is a throttle, 404 is an answer about the request.
//! let search = ServiceBuilder::new()
//!     .layer(HealthLayer::http(cache.provider("search")))
//!     .service(tower::service_fn(send));
//!
//! // All calls share one key, so a refused key is fatal. This provider sends 404 while its index is unavailable.
//! let archive = ServiceBuilder::new()
//!     .layer(HealthLayer::new(cache.provider("archive")).classify(
//!         StatusClassifier::new().credentials_as_failures().failure_on([404]),
//!     ))
//!     .service(tower::service_fn(send));
//! # let _ = (search, archive);
//! ```

mod authority;
mod body;
mod bounds;
mod check;
mod classify;
mod constructors;
mod grpc;
mod idle;
mod json;
mod judge;
#[cfg(feature = "llm")]
pub mod llm;
mod message;
mod peek;
mod read_errors;
mod replay;
#[cfg(feature = "reqwest")]
mod reqwest;
pub mod retry_hint;
pub mod sse;
mod status_codes;
mod unavailable;

pub use self::{
    authority::PerAuthority,
    body::HealthBody,
    check::HttpCheck,
    classify::StatusClassifier,
    grpc::GrpcClassifier,
    idle::IdleBody,
    judge::{JudgeBody, StreamVerdict},
    message::{HttpRequest, HttpResponse},
    peek::{
        Content, FirstContent, FirstFrame, FirstSseEvent, Peek, PeekBody, PeekError, PeekFuture,
        PeekLayer, Watch, Whole,
    },
    read_errors::{ErrorResponse, ErrorVerdict, ReadErrors, ReadErrorsFuture, ReadErrorsLayer},
    replay::{Replay, ReplayBody, ReplayError, ReplayFuture, ReplayLayer},
    retry_hint::retry_after::retry_after,
    sse::SseEvent,
    unavailable::{
        grpc_unavailable_response, unavailable_response, unavailable_response_with_details,
    },
};
