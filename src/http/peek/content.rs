use std::time::Duration;

use crate::outcome::Reason;

/// Whether the content of a body has begun, as far as can be told from what has arrived of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Not yet: a preamble, a comment, an empty delta. The response is held back.
    NotYet,
    /// It has begun: the response is let through.
    Begun,
    /// It will not begin: the provider reports an error in its body. The call fails with
    /// [`PeekError::Broken`](super::PeekError::Broken).
    Broken(Reason),
    /// It will not begin: the provider asks for a pause in its body. The call fails with
    /// [`PeekError::Throttled`](super::PeekError::Throttled).
    Throttled {
        /// For how long, where the provider names a time.
        retry_after: Option<Duration>,
        /// What the provider said.
        reason: Reason,
    },
}

impl Content {
    /// [`Broken`](Self::Broken), for this reason.
    pub fn broken(reason: impl Into<Reason>) -> Self {
        Self::Broken(reason.into())
    }

    /// [`Throttled`](Self::Throttled), for so long and for this reason.
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }
}
