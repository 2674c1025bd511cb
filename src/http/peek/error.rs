use std::{error::Error, fmt, time::Duration};

use crate::{
    fallback::NoHealthyProvider,
    outcome::{Kind, Outcome, Reason},
    util::errors::{by_value_or_pointer, chain},
};

/// A response was successful by its status, but its body did not begin; from a
/// [`Peek`](super::Peek).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeekError {
    /// The time ran out; see [`PeekLayer::within`](super::PeekLayer::within).
    TimedOut(Duration),
    /// The provider reported an error in the body, for this reason.
    Broken(Reason),
    /// The provider asked for a pause in the body. A [`HealthLayer`](crate::HealthLayer) around the call
    /// [throttles](crate::Outcome::Throttled) the provider.
    Throttled {
        /// For how long, where the provider named a time.
        retry_after: Option<Duration>,
        /// What the provider said.
        reason: Reason,
    },
    /// The body ended, well-formed, without any content.
    Ended,
    /// The body ended with fewer bytes than its size hint had announced.
    Incomplete,
}

impl PeekError {
    /// The one that a call ended with. What ended a call of a provider in a group is not the group's own.
    pub(crate) fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        chain(error)
            .take_while(|error| by_value_or_pointer::<NoHealthyProvider>(*error).is_none())
            .find_map(by_value_or_pointer)
    }

    /// What the provider says of itself is of no kind.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::TimedOut(_) => Some(Kind::Timeout),
            Self::Ended | Self::Incomplete => Some(Kind::Incomplete),
            Self::Broken(_) | Self::Throttled { .. } => None,
        }
    }

    /// What the provider said in the body.
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
            Self::Ended => f.write_str("body ended before its content"),
        }
    }
}

impl Error for PeekError {}
