//! Reading the beginning of an error's body, for what the status does not say.
//!
//! The layer leaves the verdict in the response's extensions, where [`StatusClassifier`](super::StatusClassifier) finds it:
//! both the layer around that asks about health, and the chain that asks whether to go on.

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
