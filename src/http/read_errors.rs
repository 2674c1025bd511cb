//! Reading the beginning of an error's body, for what the status does not say.
//!
//! The layer puts the verdict into the response's extensions. [`StatusClassifier`](super::StatusClassifier) reads it from
//! there, both for the `HealthLayer` around and for the chain.

mod future;
mod layer;
mod service;
mod verdict;

use std::time::Duration;

pub use self::{
    future::ReadErrorsFuture,
    layer::ReadErrorsLayer,
    service::ReadErrors,
    verdict::{ErrorResponse, ErrorVerdict},
};

/// How long an error's body is waited for, and how much of it is read at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    within: Duration,
    up_to: usize,
}
