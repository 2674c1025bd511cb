use crate::outcome::OutcomeLabel;

/// Calls that were admitted although the breaker would have refused them, by outcome.
///
/// They are made with [`Policy::observe_only`](crate::Policy::observe_only), while the breaker is
/// [forced](crate::Provider::force) closed, and in a chain with [`Exhausted::FailOpen`](crate::Exhausted::FailOpen). With
/// `observe_only`, they show what the policy would do. Without these calls, callers would have missed the answers counted as
/// `success` and `answered`, and avoided the errors counted as `failure` and `throttled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize))]
#[non_exhaustive]
pub struct ShadowCalls {
    /// Calls that the provider served.
    pub success: u64,
    /// Calls that failed.
    pub failure: u64,
    /// Calls that the provider throttled.
    pub throttled: u64,
    /// Calls whose answer concerns [only the request](crate::Outcome::Answered).
    pub answered: u64,
    /// Calls that prove nothing about the provider.
    pub neutral: u64,
}

impl ShadowCalls {
    pub(crate) fn count(&mut self, outcome: OutcomeLabel) {
        let calls = match outcome {
            OutcomeLabel::Success => &mut self.success,
            OutcomeLabel::Failure => &mut self.failure,
            OutcomeLabel::Throttled => &mut self.throttled,
            OutcomeLabel::Answered => &mut self.answered,
            OutcomeLabel::Neutral => &mut self.neutral,
        };
        *calls += 1;
    }
}
