use std::time::Duration;

use crate::outcome::Outcome;

/// The end of a check: its result, a timeout or a panic.
pub(crate) enum CheckEnd {
    Judged(Outcome),
    /// The check exceeded this timeout.
    TimedOut(Duration),
    /// The check panicked with this message.
    Panicked(String),
}

impl CheckEnd {
    /// The value of the metrics label `result`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Judged(outcome) => match outcome {
                Outcome::Success => "passed",
                Outcome::Failure { .. } | Outcome::Fatal { .. } => "failed",
                Outcome::Throttled { .. } => "throttled",
                Outcome::Answered => "answered",
                Outcome::Neutral => "neutral",
            },
            Self::TimedOut(_) => "timed-out",
            Self::Panicked(_) => "panicked",
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Judged(outcome) => outcome,
            Self::TimedOut(limit) => Outcome::failure(format!("check timed out after {limit:?}")),
            Self::Panicked(text) => Outcome::failure(format!("check panicked: {text}")),
        }
    }
}
