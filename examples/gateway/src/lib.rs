//! An LLM gateway: model aliases, each a chain of providers, behind an OpenAI-compatible API. `docs/gateway.md` explains
//! the layers.
//!
//! ```text
//! client → api → chain of an alias → account → model → whole / first token → errors → provider
//!            ↑                          └────────┴ breakers, in one HealthCache
//!            └ delivery: events, access log
//! ```

mod access;
mod admin;
mod api;
mod call;
mod config;
pub mod demo;
mod gateway;
mod routes;
mod server;
mod upstream;

pub use self::{config::Config, gateway::Gateway, server::serve};
