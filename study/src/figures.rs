//! The figures of one design's calls.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    simulation::{Call, Record},
    world::{OUTAGE, Source},
};

pub(crate) struct Figures {
    pub(crate) paid_the_timeout: usize,
    pub(crate) longest_wait: Duration,
    /// From the start of the outage to the first call that was not sent to the provider.
    pub(crate) detected_after: Option<Duration>,
    /// From the end of the outage to the end of the last call that the provider did not answer.
    pub(crate) recovered_after: Duration,
    /// Calls sent to the provider in the second that starts with the first of them after the outage.
    pub(crate) in_its_first_second: usize,
    pub(crate) errors: usize,
}

impl Figures {
    pub(crate) fn of(Record { calls, visits }: &Record) -> Self {
        let sent: BTreeSet<_> = visits.iter().map(|visit| visit.began).collect();
        let kept_away = calls
            .iter()
            .map(|call| call.began)
            .find(|began| *began >= OUTAGE.start && !sent.contains(began));

        let not_by_it = calls
            .iter()
            .filter(|call| call.answer != Some(Source::Provider));
        let last_end = not_by_it.map(Call::ended).max().unwrap_or_default();

        let mut let_in_again = sent.range(OUTAGE.end..);
        let first = *let_in_again.clone().next().unwrap_or(&Duration::ZERO);

        Self {
            paid_the_timeout: count(calls, Call::paid_the_timeout),
            longest_wait: calls.iter().map(|call| call.took).max().unwrap_or_default(),
            detected_after: kept_away.map(|began| began.saturating_sub(OUTAGE.start)),
            recovered_after: last_end.saturating_sub(OUTAGE.end),
            in_its_first_second: let_in_again
                .by_ref()
                .take_while(|at| **at < first + Duration::from_secs(1))
                .count(),
            errors: count(calls, |call| call.answer.is_none()),
        }
    }
}

fn count(calls: &[Call], is_counted: impl Fn(&Call) -> bool) -> usize {
    calls.iter().filter(|call| is_counted(call)).count()
}

/// The most calls that were with the provider for each that it had answered since the outage, whenever another call arrived.
/// The first call is not counted.
#[cfg(test)]
pub(crate) fn most_for_each_answer(visits: &[crate::world::Visit]) -> f64 {
    let back: Vec<_> = visits
        .iter()
        .filter(|visit| visit.began >= OUTAGE.end)
        .collect();
    let ratios = back.iter().skip(1).map(|visit| {
        let now = visit.began;
        let is_answered = |it: &&&crate::world::Visit| it.answered.is_some_and(|at| at <= now);
        let begun = back.iter().take_while(|it| it.began <= now).count();
        let answered = back.iter().filter(is_answered).count();
        #[allow(clippy::cast_precision_loss)]
        let ratio = (begun - answered) as f64 / answered as f64;
        ratio
    });
    ratios.fold(0.0, f64::max)
}
