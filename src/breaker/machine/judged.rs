use super::Breaker;
use crate::{
    breaker::ticket::Ticket,
    outcome::{Judged, OutcomeLabel},
};

impl Breaker {
    pub(super) fn judged(&mut self, outcome: OutcomeLabel, ticket: Ticket) -> Judged {
        let is_shadow = ticket.is_shadow();
        if is_shadow {
            self.shadow.get_or_insert_default().count(outcome);
        }
        Judged {
            outcome,
            is_trial: ticket.is_trial(),
            is_shadow,
            // A neutral outcome never changes anything, so it cannot be late.
            is_late: outcome != OutcomeLabel::Neutral && ticket.is_from_before(self.epoch),
        }
    }
}
