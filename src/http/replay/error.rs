use std::{error::Error, fmt};

use crate::util::errors::BoxError;

/// The error of a [`Replay`](super::Replay) that did not send a request, because it could not buffer the body.
///
/// It does not count against a provider: its [kind](crate::error::Kind) is `Request`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The body exceeds the limit of [`ReplayLayer::up_to`](super::ReplayLayer::up_to). Answer with a 413.
    TooLarge {
        /// Maximum number of bytes buffered.
        limit: usize,
    },
    /// Reading the body failed with this error. Answer with a 400, if the caller is still connected.
    Unreadable(BoxError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "request body exceeds {limit} bytes"),
            Self::Unreadable(_) => f.write_str("failed to read the request body"),
        }
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Unreadable(error) => Some(&**error),
        }
    }
}
