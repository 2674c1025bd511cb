//! What a finished call proves: its outcome, the reason for it, and the kind of error that it ended with.

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

/// What a finished call says about its provider's health.
///
/// Whether a [chain](crate::FallbackChain) should go on to the next provider is another question,
/// which the chain asks of its own [rule](crate::Advance).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider is well: the streak of failures ends, a trial counts towards closing.
    Success,
    /// The provider is ill: counts towards a trip; a trial opens the breaker again.
    Failure {
        /// What went wrong.
        reason: Reason,
        /// Should this open the breaker, then at least for so long: the provider named a time.
        retry_after: Option<Duration>,
    },
    /// The provider is of no use, and waiting would not make it so: a revoked key, an unpaid bill.
    /// A [`Failure`](Self::Failure) that opens the breaker at once, whatever the [rule](crate::Trip).
    Fatal {
        /// What went wrong.
        reason: Reason,
    },
    /// The provider is well but wants a pause: the breaker opens at once, without a strike.
    Throttled {
        /// For how long; [`Throttle`](crate::Throttle) sets its bounds, and the wait where none is named.
        retry_after: Option<Duration>,
        /// What the provider said.
        reason: Reason,
    },
    /// The provider answered, and its answer is about the request: not found, not allowed, not valid. It is up, though
    /// this does not prove that it can serve.
    ///
    /// Counts as a call in a [failure rate](crate::Trip::failure_rate), but not as a failure. Three in a row end a streak of
    /// failures; three in a row of trials count as one success.
    Answered,
    /// No answer: the caller left, or the call never reached the provider. It changes nothing, and frees a trial's slot.
    Neutral,
}

impl Outcome {
    /// A [`Failure`](Self::Failure) without a named time.
    pub fn failure(reason: impl Into<Reason>) -> Self {
        Self::Failure {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// Whether the provider did not serve the call.
    #[cfg(feature = "http")]
    pub(crate) fn speaks_against(&self) -> bool {
        !matches!(self, Self::Success | Self::Answered | Self::Neutral)
    }

    /// The same, with a wait that is no shorter, where it can have one.
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

    /// The outcome of an error by default: a failure, except that an error of a [neutral](Kind::is_neutral) kind is neutral,
    /// and that a pause which the provider asked for in its body is a throttle.
    pub(crate) fn of_error<E: fmt::Display + 'static>(error: &E) -> Self {
        let known = as_error(error);
        if known.and_then(Kind::of).is_some_and(Kind::is_neutral) {
            return Self::Neutral;
        }
        known
            .and_then(Self::throttle_within)
            .unwrap_or_else(|| Self::failure(Reason::of(error)))
    }

    /// A [`Fatal`](Self::Fatal).
    pub fn fatal(reason: impl Into<Reason>) -> Self {
        Self::Fatal {
            reason: reason.into(),
        }
    }

    /// A [`Throttled`](Self::Throttled).
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }
}

/// An [`Outcome`] as a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeLabel {
    Success,
    Failure,
    Throttled,
    Answered,
    Neutral,
}

/// What became of a finished call.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only metrics ask")]
pub(crate) struct Judged {
    pub(crate) outcome: OutcomeLabel,
    pub(crate) is_trial: bool,
    pub(crate) is_late: bool,
}
