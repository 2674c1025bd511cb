//! Classifying error responses by the beginning of their bodies.
//!
//! The layer adds its verdict to the response's extensions. [`StatusClassifier`](super::StatusClassifier) reads it
//! there, for both the `HealthLayer` and the chain.

mod future;
mod layer;
mod service;
mod verdict;

pub use self::{
    future::ReadErrorsFuture,
    layer::ReadErrorsLayer,
    service::ReadErrors,
    verdict::{ErrorResponse, ErrorVerdict},
};
