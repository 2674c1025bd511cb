//! Health to look at, and to overrule: a page that is live, the same as JSON, and an operator's word on it.
//! Feature `status`.
//!
//! [`StatusService`] only shows, [`ControlService`] only overrules, so that each can stand behind the
//! authentication that it needs. Both are plain tower services: they nest in axum, and hyper serves them alone.
//!
//! ```
//! use axum::Router;
//! use tower_health::{HealthCache, status::StatusService};
//!
//! let cache = HealthCache::default();
//! let status = StatusService::new(&cache);
//! let router: Router = Router::new().nest_service("/status", status);
//! ```
//!
//! With control, which the page then shows buttons for:
//!
//! ```
//! use axum::{Router, extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::Response};
//! use tower::ServiceBuilder;
//! use tower_health::{HealthCache, status::{ControlService, StatusService, UnhealthyWhen}};
//!
//! // Yours: a session, mutual TLS, a password.
//! async fn only_operators(request: Request, next: Next) -> Result<Response, StatusCode> {
//! #   let is_operator = false;
//!     if is_operator { Ok(next.run(request).await) } else { Err(StatusCode::FORBIDDEN) }
//! }
//!
//! let cache = HealthCache::default();
//! let status = StatusService::new(&cache)
//!     .title("LLM gateway")
//!     .expected(["groq", "openai"])
//!     .unhealthy_when(UnhealthyWhen::AllDown)
//!     .control_at("control");
//! let control = ServiceBuilder::new()
//!     .layer(from_fn(only_operators))
//!     .service(ControlService::new(&cache));
//! let router: Router = Router::new()
//!     .nest_service("/status", status)
//!     .nest_service("/status/control", control);
//! ```

mod answer;
mod body;
mod control;
mod events;
mod frames;
mod history;
mod page;
mod rule;
mod service;
mod settings;
mod viewers;

pub use self::{
    body::StatusBody,
    control::{ControlFuture, ControlService},
    rule::UnhealthyWhen,
    service::{StatusFuture, StatusService},
};
