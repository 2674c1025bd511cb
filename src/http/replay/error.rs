use std::{error::Error, fmt};

use crate::util::errors::BoxError;

/// A request was not sent, because its body could not be kept; from a [`Replay`](super::Replay).
///
/// It says nothing of a provider: its [kind](crate::error::Kind) is a fault of the request.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The body is larger than what is kept, see [`ReplayLayer::up_to`](super::ReplayLayer::up_to): a 413.
    TooLarge {
        /// How many bytes are kept.
        limit: usize,
    },
    /// The body ended with this error: a 400, if whoever sent it is still there.
    Unreadable(BoxError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "request body is larger than {limit} bytes"),
            Self::Unreadable(_) => f.write_str("request body could not be read"),
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
