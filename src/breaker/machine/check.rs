use tokio::time::Instant;

use super::{Breaker, Depth};
use crate::outcome::Outcome;

impl Breaker {
    /// A check that started in `epoch` has ended with this outcome.
    pub(crate) fn check_ended(&mut self, epoch: u64, depth: Depth, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Success => self.checked(epoch, depth, Ok(()), now),
            Outcome::Answered if depth == Depth::Reachability => {
                self.checked(epoch, depth, Ok(()), now);
            }
            Outcome::Failure { reason, .. } | Outcome::Fatal { reason } => {
                self.checked(epoch, depth, Err(reason), now);
            }
            Outcome::Throttled {
                retry_after,
                reason,
            } => {
                self.last_check = Some(now);
                let counts = self.is_of_this_turn(epoch)
                    && !self.take_live_proof()
                    && !self.slots.has_trial_of(self.epoch);
                self.throttled(counts, retry_after, reason, now);
            }
            Outcome::Answered | Outcome::Neutral => self.last_check = Some(now),
        }
    }
}
