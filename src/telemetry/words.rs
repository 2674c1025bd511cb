//! What the values of labels can be.

use crate::{Cause, Outcome, State, breaker::Verdict, probe::CheckEnd};

impl State {
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];
}

impl Cause {
    pub(super) const ALL: [Self; 4] = [Self::Failures, Self::Throttled, Self::Probe, Self::Forced];
}

impl Verdict {
    pub(super) const ALL: [Self; 5] = [
        Self::Success,
        Self::Failure,
        Self::Throttled,
        Self::Answered,
        Self::Neutral,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Throttled => "throttled",
            Self::Answered => "answered",
            Self::Neutral => "neutral",
        }
    }
}

impl CheckEnd {
    pub(super) fn as_str(&self) -> &'static str {
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
}
