use std::time::Duration;

use crate::Outcome;

/// How a check has ended.
pub(crate) enum CheckEnd {
    Judged(Outcome),
    /// It took longer than it may.
    TimedOut(Duration),
    /// With this text.
    Panicked(String),
}

impl CheckEnd {
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Judged(outcome) => outcome,
            Self::TimedOut(limit) => Outcome::failure(format!("check timed out after {limit:?}")),
            Self::Panicked(text) => Outcome::failure(format!("check panicked: {text}")),
        }
    }
}
