use std::{error::Error, fmt, time::Duration};

use crate::Reason;

/// A response was successful by its status, but its body did not begin; from a
/// [`Peek`](super::Peek).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeekError {
    /// The time ran out; see [`PeekLayer::within`](super::PeekLayer::within).
    TimedOut(Duration),
    /// The provider reported an error in the body, for this reason.
    Broken(Reason),
    /// The body ended, well-formed, without any content.
    Ended,
}

impl fmt::Display for PeekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(within) => write!(f, "body did not begin within {within:?}"),
            Self::Broken(reason) => write!(f, "body began with an error: {reason}"),
            Self::Ended => f.write_str("body ended before its content"),
        }
    }
}

impl Error for PeekError {}
