//! What the calls through a design come to.

use std::time::Duration;

use crate::{
    simulation::Call,
    world::{OUTAGE, Source},
};

pub(crate) struct Figures {
    pub(crate) paid_the_timeout: usize,
    /// From the beginning of the outage to the first call that was kept from the provider.
    pub(crate) detected_after: Option<Duration>,
    /// From the end of the outage until the last call was over that the provider did not answer.
    pub(crate) recovered_after: Duration,
    /// After the outage, of the second that begins with the first call to reach the provider.
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
