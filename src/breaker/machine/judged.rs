use super::Breaker;
use crate::{
    breaker::ticket::Ticket,
    outcome::{Judged, Outcome, OutcomeLabel},
};

impl Breaker {
    pub(super) fn judged(&self, outcome: OutcomeLabel, ticket: Ticket) -> Judged {
        Judged {
            outcome,
            is_trial: ticket.is_trial(),
            is_shadow: ticket.is_shadow(),
            // A neutral outcome never changes anything, so it cannot be late.
            is_late: outcome != OutcomeLabel::Neutral && ticket.is_from_before(self.epoch),
        }
    }
}

impl OutcomeLabel {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure { .. } | Outcome::Fatal { .. } => Self::Failure,
            Outcome::Throttled { .. } => Self::Throttled,
            Outcome::Answered => Self::Answered,
            Outcome::Neutral => Self::Neutral,
        }
    }
}
