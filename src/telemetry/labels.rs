//! All values of the metrics' labels.

use crate::{
    outcome::OutcomeLabel,
    view::{Cause, State},
};

impl State {
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];
}

impl Cause {
    pub(super) const ALL: [Self; 5] = [
        Self::Failures,
        Self::Throttled,
        Self::Probe,
        Self::Forced,
        Self::Peer,
    ];
}

impl OutcomeLabel {
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
