use std::{error::Error, fmt};

use crate::util::errors::BoxError;

/// The error of a [`Replay`](super::Replay), or of a chain, that did not send a request, because the body could not be
/// kept for a second provider.
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
    /// The body of a `reqwest::Request` is a stream, so a [`FallbackChain`](crate::FallbackChain) cannot clone the request.
    /// Collect the stream first, or use a chain of one entry.
    Stream,
    /// Reading the body failed with this error. Answer with a 400, if the caller is still connected.
    Unreadable(BoxError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "request body exceeds {limit} bytes"),
            Self::Stream => f.write_str(
                "request body is a stream, which cannot be sent to a second provider; collect it first",
            ),
            Self::Unreadable(_) => f.write_str("failed to read the request body"),
        }
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooLarge { .. } | Self::Stream => None,
            Self::Unreadable(error) => Some(&**error),
        }
    }
}
