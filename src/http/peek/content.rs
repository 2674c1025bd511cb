use std::time::Duration;

use crate::outcome::Reason;

/// Whether the content of a body has begun, judging by the part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Not yet: a preamble, a comment, an empty delta. The response is still held back.
    NotYet,
    /// The content has begun: the response is returned.
    Begun,
    /// The provider reports an error in the body. The call fails with
    /// [`PeekError::Broken`](super::PeekError::Broken).
    Broken(Reason),
    /// The provider asks for a pause in the body. The call fails with
    /// [`PeekError::Throttled`](super::PeekError::Throttled).
    Throttled {
        /// The length of the pause, if the provider gives one.
        retry_after: Option<Duration>,
        /// The provider's message.
        reason: Reason,
    },
}

impl Content {
    /// Returns [`Broken`](Self::Broken) with this reason.
    pub fn broken(reason: impl Into<Reason>) -> Self {
        Self::Broken(reason.into())
    }

    /// Returns [`Throttled`](Self::Throttled) with this pause and reason.
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }
}
