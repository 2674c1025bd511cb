//! A live status page, health as JSON, and operator overrides over HTTP. Feature `status`.
//!
//! [`StatusService`] is read-only and [`ControlService`] overrides health, so that each can have its own
//! authentication. Both are plain tower services: nest them in axum, or serve them with hyper.
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
//! With control, for which the page then shows buttons:
//!
//! ```
//! use axum::{Router, extract::Request, http::StatusCode, middleware::{Next, from_fn}, response::Response};
//! use tower::ServiceBuilder;
//! use tower_health::{HealthCache, status::{ControlService, StatusService, UnhealthyWhen}};
//!
//! // Your own authentication: a session, mutual TLS, a password.
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
mod chains;
mod control;
mod events;
mod frames;
mod history;
mod page;
mod rule;
mod service;
mod settings;
mod subscribers;

pub use self::{
    body::StatusBody,
    control::{ControlFuture, ControlService},
    rule::UnhealthyWhen,
    service::{StatusFuture, StatusService},
};
