//! The outcome of a call, the reason for it, and the kind of its error.
//!
//! A classifier turns a result into an [`Outcome`], which the breaker counts. A [`Reason`] is a short text with a label; metrics
//! and viewers without access see only the label. [`Kind`] classifies errors by their types, or by their texts where a type is
//! private: `kind_hyper` for hyper and its client, `kind_of_others` for the other crates. `Kind::of` itself is in `crate::error`,
//! because it knows the crate's own errors too.

mod bounded_text;
mod kind;
#[cfg(feature = "hyper")]
mod kind_hyper;
pub(crate) mod kind_of_others;
mod reason;

use std::{fmt, time::Duration};

pub(crate) use self::bounded_text::prefix;
use self::kind_of_others::as_error;
pub use self::{kind::Kind, reason::Reason};

/// The outcome of a call, as the breaker of its provider counts it.
///
/// It does not decide whether a [chain](crate::FallbackChain) tries the next provider: the chain's [rule](crate::Advance) does.
///
/// | outcome | closed breaker | trial |
/// |---|---|---|
/// | `Success` | ends the streak of failures | counts towards closing |
/// | `Failure` | counts towards a trip | opens the breaker again |
/// | `Fatal` | trips at once | opens the breaker again |
/// | `Throttled` | opens at once, without a failure | opens the breaker again |
/// | `Answered` | three in a row end the streak | three in a row count as one success |
/// | `Neutral` | changes nothing | frees the trial's slot |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider served the call.
    Success,
    /// The provider failed.
    Failure {
        /// The error.
        reason: Reason,
        /// Minimum time for which the breaker stays open, if this failure opens it: the retry time that the provider asks
        /// for, for example in `Retry-After`. [`Throttle`](crate::Throttle) sets the maximum, and by how much the breaker may stay
        /// open longer.
        retry_after: Option<Duration>,
    },
    /// The provider failed, and a retry would fail too: a revoked key, an unpaid bill. It opens the breaker at once, whatever
    /// the [`Trip`](crate::Trip) rule says.
    Fatal {
        /// The error.
        reason: Reason,
    },
    /// The provider asked for a pause. The breaker opens for that time; it counts as neither failure nor failed trial.
    Throttled {
        /// Length of the pause. [`Throttle`](crate::Throttle) sets the maximum, the length if this is `None`, and by how much the
        /// breaker may stay open longer.
        retry_after: Option<Duration>,
        /// The error that asked for the pause.
        reason: Reason,
    },
    /// The provider answered, but the answer concerns only the request: not found, not allowed, not valid. The provider is up,
    /// though this does not prove that it can serve valid requests.
    ///
    /// It counts as a call without a failure in a [failure rate](crate::Trip::failure_rate).
    Answered,
    /// The call proves nothing: the caller dropped it, or it never reached the provider.
    Neutral,
}

impl Outcome {
    /// Creates a [`Failure`](Self::Failure) without a `retry_after`.
    pub fn failure(reason: impl Into<Reason>) -> Self {
        Self::Failure {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// Returns whether this is a failure, a fatal failure or a throttle.
    #[cfg(feature = "http")]
    pub(crate) fn speaks_against(&self) -> bool {
        !matches!(self, Self::Success | Self::Answered | Self::Neutral)
    }

    /// Raises `retry_after` to at least `wait`, if the outcome has one.
    #[cfg(feature = "http")]
    pub(crate) fn waiting_for(mut self, wait: Option<Duration>) -> Self {
        match &mut self {
            Self::Failure { retry_after, .. } | Self::Throttled { retry_after, .. } => {
                *retry_after = wait.max(*retry_after);
            }
            Self::Success | Self::Fatal { .. } | Self::Answered | Self::Neutral => {}
        }
        self
    }

    /// Returns the default outcome of an error. An error of a [neutral](Kind::is_neutral) kind is neutral, a pause that the
    /// provider asked for in its body is a throttle, and any other error is a failure.
    pub(crate) fn of_error<E: fmt::Display + 'static>(error: &E) -> Self {
        let Some(error) = as_error(error) else {
            return Self::failure(Reason::of(error));
        };
        let kind = Kind::of(error);
        if kind.is_some_and(Kind::is_neutral) {
            return Self::Neutral;
        }
        Self::throttle_within(error).unwrap_or_else(|| Self::failure(Reason::of_kind(error, kind)))
    }

    /// Creates a [`Fatal`](Self::Fatal).
    pub fn fatal(reason: impl Into<Reason>) -> Self {
        Self::Fatal {
            reason: reason.into(),
        }
    }

    /// Creates a [`Throttled`](Self::Throttled).
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }
}

/// An [`Outcome`] as a metrics label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeLabel {
    Success,
    Failure,
    Throttled,
    Answered,
    Neutral,
}

impl OutcomeLabel {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure { .. } | Outcome::Fatal { .. } => Self::Failure,
            Outcome::Throttled { .. } => Self::Throttled,
            Outcome::Answered => Self::Answered,
            Outcome::Neutral => Self::Neutral,
        }
    }
}

/// The recorded result of a call, for metrics.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only metrics read all of it")]
pub(crate) struct Judged {
    pub(crate) outcome: OutcomeLabel,
    pub(crate) is_trial: bool,
    /// The call was admitted although the breaker would have refused it.
    pub(crate) is_shadow: bool,
    pub(crate) is_late: bool,
}
