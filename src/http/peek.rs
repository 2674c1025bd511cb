//! Holding a response back until its body has begun.

mod body;
mod error;
mod future;
mod layer;
mod peeking;
mod service;
mod sse;
mod watch;

use std::time::Duration;

pub use self::{
    body::PeekBody,
    error::PeekError,
    future::PeekFuture,
    layer::PeekLayer,
    service::Peek,
    sse::SseEvent,
    watch::{FirstContent, FirstFrame, FirstSseEvent},
};
use crate::Reason;

/// Whether the content of a body has begun, as far as can be told from what has arrived of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Not yet: a preamble, a comment, an empty delta. The response is held back.
    NotYet,
    /// It has begun: the response is let through.
    Begun,
    /// It will not begin: the provider reports an error in its body. The call fails with
    /// [`PeekError::Broken`].
    Broken(Reason),
}

impl Content {
    /// [`Broken`](Self::Broken), for this reason.
    pub fn broken(reason: impl Into<Reason>) -> Self {
        Self::Broken(reason.into())
    }
}

/// How long, and how much of a body, is held back at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    within: Duration,
    up_to: usize,
}
