use std::{error::Error, fmt, time::Duration};

use crate::{
    fallback::NoHealthyProvider,
    outcome::{Kind, Outcome, Reason},
    util::errors::{by_value_or_pointer, chain},
};

/// The error of a [`Peek`](super::Peek) for a response with a successful status whose body did not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeekError {
    /// The body did not begin within this time; see [`PeekLayer::within`](super::PeekLayer::within).
    TimedOut(Duration),
    /// The provider reported this error in the body.
    Broken(Reason),
    /// The provider asked for a pause in the body. A [`HealthLayer`](crate::HealthLayer) around the call
    /// [throttles](crate::Outcome::Throttled) the provider.
    Throttled {
        /// The length of the pause, if the provider gave one.
        retry_after: Option<Duration>,
        /// The provider's message.
        reason: Reason,
    },
    /// The body ended without content, but was otherwise valid.
    Ended,
    /// The body ended with fewer bytes than its size hint announced.
    Incomplete,
}

impl PeekError {
    /// The `PeekError` that a call failed with. Ignores the errors of providers within a nested chain.
    pub(crate) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error)
            .take_while(|error| by_value_or_pointer::<NoHealthyProvider>(*error).is_none())
            .find_map(by_value_or_pointer)
    }

    /// `None` for errors that the provider reported itself.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::TimedOut(_) => Some(Kind::Timeout),
            Self::Ended | Self::Incomplete => Some(Kind::Incomplete),
            Self::Broken(_) | Self::Throttled { .. } => None,
        }
    }

    /// The provider's message in the body.
    pub(crate) fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Broken(reason) | Self::Throttled { reason, .. } => Some(reason),
            Self::TimedOut(_) | Self::Ended | Self::Incomplete => None,
        }
    }

    /// The pause that the provider asked for in the body.
    pub(crate) fn throttle(&self) -> Option<Outcome> {
        match self {
            Self::Throttled {
                retry_after,
                reason,
            } => Some(Outcome::throttled(*retry_after, reason.clone())),
            _ => None,
        }
    }
}

impl fmt::Display for PeekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(within) => write!(f, "body did not begin within {within:?}"),
            Self::Broken(reason) => write!(f, "body began with an error: {reason}"),
            Self::Throttled { reason, .. } => write!(f, "body began with a throttle: {reason}"),
            Self::Incomplete => f.write_str("body ended before its announced length"),
            Self::Ended => f.write_str("body ended without content"),
        }
    }
}

impl Error for PeekError {}
