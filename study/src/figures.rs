//! The figures of one design's calls.

use std::time::Duration;

use crate::{
    simulation::Call,
    world::{OUTAGE, Source},
};

pub(crate) struct Figures {
    pub(crate) paid_the_timeout: usize,
    /// Calls that paid the timeout and got an error.
    pub(crate) waited_for_an_error: usize,
    /// From the start of the outage to the first call that was not sent to the provider.
    pub(crate) detected_after: Option<Duration>,
    /// From the end of the outage to the end of the last call that the provider did not answer.
    pub(crate) recovered_after: Duration,
    /// Calls sent to the provider in the second that starts with the first of them after the outage.
    pub(crate) in_its_first_second: usize,
    pub(crate) errors: usize,
}

impl Figures {
    pub(crate) fn of(calls: &[Call]) -> Self {
        let kept_away = calls.iter().filter(|call| !call.reached_the_provider());
        let detected_after = kept_away
            .map(|call| call.began.saturating_sub(OUTAGE.start))
            .min();

        let not_by_it = calls
            .iter()
            .filter(|call| call.answer != Some(Source::Provider));
        let last_end = not_by_it.map(Call::ended).max().unwrap_or_default();

        let let_in_again = calls
            .iter()
            .filter(|call| call.reached_the_provider() && call.began >= OUTAGE.end)
            .map(|call| call.began);
        let first = let_in_again.clone().min().unwrap_or_default();
        let first_second = first..first + Duration::from_secs(1);

        Self {
            paid_the_timeout: count(calls, Call::paid_the_timeout),
            waited_for_an_error: count(calls, |call| {
                call.paid_the_timeout() && call.answer.is_none()
            }),
            detected_after,
            recovered_after: last_end.saturating_sub(OUTAGE.end),
            in_its_first_second: let_in_again.filter(|at| first_second.contains(at)).count(),
            errors: count(calls, |call| call.answer.is_none()),
        }
    }
}

fn count(calls: &[Call], is_counted: impl Fn(&Call) -> bool) -> usize {
    calls.iter().filter(|call| is_counted(call)).count()
}
