//! Reading the beginning of an error's body, for what the status does not say.
//!
//! The layer puts the verdict into the response's extensions. [`StatusClassifier`](super::StatusClassifier) reads it from
//! there, both for the `HealthLayer` around and for the chain.

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
